/* A library in C that trains with a function it is handed; HEADER declares its type. */
#include HEADER
#include <stdlib.h>
#include <string.h>

/* Steps of SGD on the user's own loop; returns the first status that is not 0. `losses` takes `steps` losses. */
int32_t train(policy_fn fn, int64_t steps, double rate, uint64_t seed, policy_real *params, policy_real *aux,
              int64_t rows, const policy_real *x, double *losses)
{
    policy_real grad[policy_N_PARAMS], hyper[policy_N_HYPER + 1] = {0};
    int64_t length = policy_work_len(fn, rows);
    void *work = malloc((size_t)length);
    int32_t status = policy_OK;
    for (int64_t t = 0; t < steps && status == policy_OK; t++) {
        status = fn(params, grad, aux, hyper, seed, t, 0, 1.0, work, length, rows, x, &losses[t]);
        for (int i = 0; i < policy_N_PARAMS && status == policy_OK; i++)
            params[i] -= (policy_real)rate * grad[i];
    }
    free(work);
    return status;
}

/* One call with a workspace of `length` bytes. */
int32_t once(policy_fn fn, const policy_real *params, policy_real *aux, int64_t rows, const policy_real *x, int64_t length)
{
    policy_real grad[policy_N_PARAMS], hyper[policy_N_HYPER + 1] = {0};
    double loss;
    void *work = malloc((size_t)(length > 0 ? length : 1));
    int32_t status = fn(params, grad, aux, hyper, 1, 0, 0, 1.0, work, length, rows, x, &loss);
    free(work);
    return status;
}

int64_t needed(policy_fn fn, int64_t rows) { return policy_work_len(fn, rows); }

/* The statuses, and where the parameters lie, as the header says. */
int32_t constants(int64_t *out)
{
    const int64_t all[] = {policy_OK, policy_SIMULATOR, policy_PARAMETER, policy_WORKSPACE, policy_NOT_FINITE,
                           policy_N_PARAMS, policy_N_AUX, policy_PARAM_a_OFFSET, policy_PARAM_w_OFFSET,
                           policy_PARAM_w_SIZE, policy_DATA_x_SIZE, policy_PARTICLES};
    memcpy(out, all, sizeof all);
    return (int32_t)(sizeof all / sizeof all[0]);
}
