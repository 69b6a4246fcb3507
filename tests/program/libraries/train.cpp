// A library in C++ that trains with a function it is handed, on two threads.
#include HEADER
#include <cstddef>
#include <thread>
#include <vector>

static int32_t run(policy_fn fn, int64_t steps, double rate, uint64_t seed, policy_real *params, policy_real *aux,
                   int64_t rows, const policy_real *x, double *losses)
{
    std::vector<policy_real> grad(policy_N_PARAMS), hyper(policy_N_HYPER + 1);
    std::vector<unsigned char> work(static_cast<std::size_t>(policy_work_len(fn, rows)));
    for (int64_t t = 0; t < steps; t++) {
        const int32_t status = fn(params, grad.data(), aux, hyper.data(), seed, t, 0, 1.0, work.data(),
                                  static_cast<int64_t>(work.size()), rows, x, &losses[t]);
        if (status != policy_OK)
            return status;
        for (std::size_t i = 0; i < grad.size(); i++)
            params[i] -= static_cast<policy_real>(rate) * grad[i];
    }
    return policy_OK;
}

extern "C" {

int32_t train(policy_fn fn, int64_t steps, double rate, uint64_t seed, policy_real *params, policy_real *aux,
              int64_t rows, const policy_real *x, double *losses)
{
    std::vector<policy_real> other(params, params + policy_N_PARAMS), baselines(aux, aux + policy_N_AUX);
    std::vector<double> seen(static_cast<std::size_t>(steps));
    int32_t first = 0, second = 0;
    std::thread beside([&] {
        second = run(fn, steps, rate, seed, other.data(), baselines.data(), rows, x, seen.data());
    });
    first = run(fn, steps, rate, seed, params, aux, rows, x, losses);
    beside.join();
    for (int64_t t = 0; t < steps && first == policy_OK; t++)
        if (seen[static_cast<std::size_t>(t)] != losses[t])
            return -1;
    return first == second ? first : -2;
}

int32_t once(policy_fn fn, const policy_real *params, policy_real *aux, int64_t rows, const policy_real *x, int64_t length)
{
    std::vector<policy_real> grad(policy_N_PARAMS), hyper(policy_N_HYPER + 1);
    std::vector<unsigned char> work(static_cast<std::size_t>(length > 0 ? length : 1));
    double loss;
    return fn(params, grad.data(), aux, hyper.data(), 1, 0, 0, 1.0, work.data(), length, rows, x, &loss);
}

int64_t needed(policy_fn fn, int64_t rows) { return policy_work_len(fn, rows); }

int32_t constants(int64_t *out)
{
    const int64_t all[] = {policy_OK, policy_SIMULATOR, policy_PARAMETER, policy_WORKSPACE, policy_NOT_FINITE,
                           policy_N_PARAMS, policy_N_AUX, policy_PARAM_a_OFFSET, policy_PARAM_w_OFFSET,
                           policy_PARAM_w_SIZE, policy_DATA_x_SIZE, policy_PARTICLES};
    int32_t n = 0;
    for (const int64_t value : all)
        out[n++] = value;
    return n;
}
}
