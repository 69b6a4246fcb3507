"""Same (state, data, seed), same bits; parts of a batch and permuted rows change only rounding."""

import numpy as np
import pytest

import ppl
from tests.program.programs import RTOL, assert_close, data, mixed_program, same, units, units_program


def test_same_state_data_and_seed_give_the_same_bits():
    program, x = mixed_program(), data()
    state = program.init(0, x)
    loss, grads = program.value_and_grad(state, x, seed=7)
    again, grads_again = program.value_and_grad(state, x, seed=7)
    assert loss == again and same(grads, grads_again)
    assert program.value(state, x, seed=7) == program.value(state, x, seed=7)
    assert same(program.sample(state, x, seed=7), program.sample(state, x, seed=7))


def test_another_seed_or_step_gives_other_noise():
    program, x = mixed_program(), data()
    state = program.init(0, x)
    losses = [program.value_and_grad(state, x, seed=s)[0] for s in (None, 1, 2)]
    losses += [program.value_and_grad(state.replace(step=1), x)[0]]
    losses += [program.value_and_grad(state.replace(seed=1), x)[0]]
    assert len(set(losses)) == 4  # seed=1 at step 0 is the state with seed 1 at step 0
    assert losses[1] == losses[4]


def test_a_recompiled_program_gives_the_same_bits():
    x = data()
    a, b = units_program("rebar"), ppl.compile(units, ppl.estimators.Rebar(), dtype="float64", data=x)
    state = a.init(0, x)
    assert same(a.value_and_grad(state, x)[1], b.value_and_grad(b.init(0, x), x)[1])


def _parts(rows: np.ndarray):
    """The ways to name three parts of a batch."""
    cuts = [slice(0, 4), slice(4, 5), slice(5, len(rows))]
    yield "int start", [(c, c.start) for c in cuts]
    yield "slice", [(c, c) for c in cuts]
    order = np.random.default_rng(1).permutation(len(rows))
    yield "array of permuted ids", [(order[c], order[c]) for c in cuts]


@pytest.mark.parametrize("way", [0, 1, 2], ids=["int", "slice", "ids"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_batch_in_parts_has_the_noise_of_the_whole(dtype, way):
    program = units_program("rebar", dtype)
    x = data()
    state = program.init(0, x)
    whole = program.value(state, x, per_row=True)
    loss, grads = program.value_and_grad(state, x)
    total, sums, seen = 0.0, dict.fromkeys(grads, 0.0), np.zeros(len(x))
    for chosen, rows in list(_parts(x))[way][1]:
        seen[chosen] = program.value(state, x[chosen], per_row=True, rows=rows)
        part, part_grads = program.value_and_grad(state, x[chosen], rows=rows)
        total += part
        sums = {k: sums[k] + part_grads[k] for k in sums}
    np.testing.assert_allclose(seen, whole, rtol=RTOL[dtype])
    assert total == pytest.approx(loss, rel=10 * RTOL[dtype])
    assert_close(sums, grads, 10 * RTOL[dtype])


def test_samples_of_given_rows_are_those_rows_of_all_samples():
    program, x = mixed_program(), data()
    state = program.init(0, x)
    whole = program.sample(state, x, seed=4, particles=3)
    part = program.sample(state, x[6:9], seed=4, particles=3, rows=6)
    assert np.array_equal(part["b"], whole["b"][:, 6:9])
    np.testing.assert_allclose(part["z"], whole["z"][:, 6:9], rtol=1e-14)


def test_total_rows_scales_what_is_summed_over_rows():
    program, x = mixed_program(), data()
    state = program.init(0, x)
    drawn = program.sample(state, x, particles=2, seed=0)
    fit = np.sum((drawn["z"] - x[:, :2]) ** 2) / 2
    size = np.mean(drawn["shift"] ** 2)
    for evaluate in (program.value, lambda *a, **k: program.value_and_grad(*a, **k)[0]):
        assert evaluate(state, x, seed=0) == pytest.approx(fit + size, rel=1e-12)
        assert evaluate(state, x, seed=0, total_rows=1100) == pytest.approx(100 * fit + size, rel=1e-12)


def test_gradients_scale_with_total_rows():
    program, x = units_program("rebar"), data()
    state = program.init(0, x)
    one, many = (program.value_and_grad(state, x, total_rows=n)[1] for n in (len(x), 10 * len(x)))
    assert_close({k: 10 * v for k, v in one.items()}, many, 1e-12)


def test_the_particle_count_is_a_run_time_choice():
    """All numbers but the program's own, which is compiled in, are served by one executable."""
    program, x = mixed_program(), data()
    state = program.init(0, x)
    before = set(program.prepare()._executables)
    few, many = (program.value_and_grad(state, x, particles=k)[0] for k in (2, 500))
    assert few != many and few == pytest.approx(many, rel=0.5)
    assert program.sample(state, x, particles=5)["z"].shape == (5, len(x), 2)
    any_number = ("gradient", (), None, ())
    assert set(program.prepare()._executables) - before <= {any_number, "sample:shift,b,z,total"}
    with pytest.raises(ppl.errors.EstimatorError, match=r"node 'b'.*leave-one-out.*particles"):
        program.value_and_grad(state, x, particles=1)


def test_row_counts_never_recompile():
    program = units_program("score")
    state = program.init(0, data())
    program.value_and_grad(state, data())
    known, executables = dict(program._compiled), set(program.prepare()._executables)
    for rows in (1, 2, 50):
        loss, grads = program.value_and_grad(state, data(rows))
        assert np.isfinite(loss) and all(np.isfinite(g).all() for g in grads.values())
    assert program._compiled == known and set(program.prepare()._executables) == executables
