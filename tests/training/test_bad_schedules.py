"""Rates, other hyperparameters and schedules that are no numbers of their range: refused before they are applied."""

import decimal
import fractions

import numpy as np
import pytest

import ppl
from ppl.arguments import number, number_at
from ppl.errors import EstimatorError, FitError, OptionError, ScheduleError
from ppl.estimators import Relaxed
from ppl.training import optim
from ppl.training.batches import ArrayBatches
from ppl.training.compiled_run import CompiledRun, make_run
from ppl.training.fit import fit
from ppl.training.optim import SGD, AdaGrad, Adam, AdamW, LazyAdam, Momentum, RMSProp
from tests.faults.runs import alone
from tests.faults.runs import program as compiled
from tests.program.programs import data, units_program

NAN, INF = float("nan"), float("inf")

NOT_NUMBERS = [
    NAN, INF, -INF, "0.1", b"1", None, True, np.True_, 1j, np.complex128(1), [0.1], np.ones(1), np.ones((1, 1)), {},
    object(), np.array("a"), np.array(None), 10**400, decimal.Decimal("nan"), np.float32(INF),
]  # fmt: skip

NUMBERS = [0.5, 1, np.float32(0.5), np.int8(1), np.array(0.5), fractions.Fraction(1, 2), decimal.Decimal("0.5")]


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_no_number(value):
    with pytest.raises(OptionError, match="rate must be a finite number, not"):
        number("rate", value)
    with pytest.raises(ScheduleError, match="rate at step 7 must be a finite number, not"):
        number_at("rate", lambda step: value, 7)


@pytest.mark.parametrize("value", NUMBERS)
def test_what_is_one(value):
    for found in (number("rate", value), number_at("rate", lambda step: value, 7)):
        assert type(found) is float and found == float(value)


MAKERS = {
    "SGD lr": SGD,
    "Momentum lr": Momentum,
    "Momentum beta": lambda x: Momentum(0.1, beta=x),
    "Momentum clip_norm": lambda x: Momentum(0.1, clip_norm=x),
    "AdaGrad lr": AdaGrad,
    "AdaGrad eps": lambda x: AdaGrad(eps=x),
    "Adam lr": Adam,
    "AdamW lr": AdamW,
    "LazyAdam lr": LazyAdam,
    "AdamW weight_decay": lambda x: AdamW(weight_decay=x),
    "RMSProp lr": RMSProp,
    "RMSProp decay": lambda x: RMSProp(decay=x),
    "Adam b1": lambda x: Adam(b1=x),
    "Adam b2": lambda x: Adam(b2=x),
    "Adam eps": lambda x: Adam(eps=x),
    "Adam clip_norm": lambda x: Adam(clip_norm=x),
    "constant value": optim.constant,
    "linear start": lambda x: optim.linear(x, 0.0, 5),
    "linear end": lambda x: optim.linear(0.0, x, 5),
    "linear steps": lambda x: optim.linear(0.0, 1.0, x),
    "cosine start": lambda x: optim.cosine(x, 0.0, 5),
    "cosine steps": lambda x: optim.cosine(0.1, 0.0, x),
    "exponential decay": lambda x: optim.exponential(0.1, x),
    "piecewise value": lambda x: optim.piecewise([3], [0.1, x]),
    "piecewise boundary": lambda x: optim.piecewise([x], [0.1, 0.2]),
    "robbins_monro a": lambda x: optim.robbins_monro(x),
    "robbins_monro b": lambda x: optim.robbins_monro(0.1, x),
    "robbins_monro power": lambda x: optim.robbins_monro(0.1, 1.0, x),
}


@pytest.mark.parametrize("name", MAKERS)
def test_options_of_optimizers_and_schedules(name):
    for value in NOT_NUMBERS:
        if not (value is None and "clip_norm" in name):
            with pytest.raises(OptionError, match=name.split()[1]):
                MAKERS[name](value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(-0.1), lambda: SGD(np.float32(-0.1)), lambda: Momentum(0.1, nesterov="no"),
        lambda: Momentum(0.1, beta=-0.1), lambda: Adam(b1=1.0), lambda: Adam(eps=-1e-8), lambda: Adam(eps=1e-60),
        lambda: AdaGrad(eps=1e-60), lambda: Adam(eps=1e60), lambda: SGD(0.1, clip_norm=-1.0), lambda: SGD("fast"),
        lambda: optim.piecewise(3, [0.1]), lambda: optim.piecewise([3], 0.1), lambda: optim.linear(0.1, 0.0, 0.5),
    ],
)  # fmt: skip
def test_numbers_out_of_range(make):
    with pytest.raises(OptionError):
        make()


def test_other_kinds_of_numbers_are_floats_to_kernels():
    for value in (np.float32(0.5), np.array(0.5), fractions.Fraction(1, 2)):
        optimizer = Adam(value, b1=value, b2=value, clip_norm=value)
        assert all(type(getattr(optimizer, name)) is float for name in ("lr", "b1", "b2", "clip_norm"))


BAD = 37


def raising(step):
    return 1 / (step - BAD) and 0.01


SCHEDULES = {
    "nan": lambda step: NAN if step == BAD else 0.01,
    "inf": lambda step: INF if step == BAD else 0.01,
    "negative": lambda step: -0.01 if step == BAD else 0.01,
    "array": lambda step: np.full(1, 0.01) if step == BAD else 0.01,
    "complex": lambda step: 0.01 + 0.01j if step == BAD else 0.01,
    "None": lambda step: None if step == BAD else 0.01,
    "raises": raising,
}

LOOPS = {
    "in place": lambda lr: Adam(lr),
    "step by step": lambda lr: Adam(lr, clip_norm=1e9),
    "group": lambda lr: {"*": Momentum(lr)},
}


@pytest.fixture(scope="module")
def program():
    return compiled(alone)


def the_error(program, tmp_path, **options):
    with pytest.raises(FitError) as caught:
        fit(program, steps=100, checkpoint=(tmp_path / "run.npz", 10), progress=False, **options)
    error = caught.value
    assert error.step == error.state.step == error.fit.state.step == BAD and f"at step {BAD}" in str(error)
    assert np.array_equal(error.fit.history["step"], np.arange(1, BAD + 1))
    assert np.isfinite(error.state._flat).all() and isinstance(error.__context__, ScheduleError)
    return error


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_rate_that_is_none_ends_the_run_before_its_step(kind, loop, program, tmp_path):
    optimizer = LOOPS[loop](SCHEDULES[kind])
    error = the_error(program, tmp_path, optimizer=optimizer)
    assert "lr at step" in str(error)
    good = fit(program, steps=BAD, optimizer=LOOPS[loop](lambda step: 0.01), progress=False)
    assert good.state._flat.tobytes() == error.state._flat.tobytes()
    resumed = fit(program, steps=100, optimizer=LOOPS[loop](lambda step: 0.01), checkpoint=tmp_path / "run.npz")
    assert resumed.state.step == 100 and len(resumed.history["loss"]) == 100


@pytest.mark.parametrize("loop", ["in place", "step by step"])
@pytest.mark.parametrize("kind", ["nan", "array", "raises"])
def test_so_does_a_hyper_value(kind, loop, program, tmp_path):
    error = the_error(program, tmp_path, optimizer=LOOPS[loop](0.01), hyper={"k": SCHEDULES[kind]})
    assert "hyper 'k' at step" in str(error)


def test_hyper_values_that_are_no_numbers(program):
    state = program.init(0)
    for value in NOT_NUMBERS:
        for call in (program.value, program.step):
            with pytest.raises(OptionError, match="hyper 'k'"):
                call(state, hyper={"k": value})
    assert program.value(state, hyper={"k": -2}) == -2 * program.value(state)


def test_rates_too_large_for_compiled_code_are_taken_step_by_step(program):
    lr = optim.piecewise([3, 4], [0.1, 1e30, 0.1])
    runs = [fit(program, steps=3, optimizer=o, progress=False) for o in (SGD(lr), SGD(lr, clip_norm=1e9))]
    assert runs[0].state._flat.tobytes() == runs[1].state._flat.tobytes()


def test_the_loop_in_place_is_what_was_tested(program):
    batches = ArrayBatches(program, (), None, None)
    assert isinstance(make_run(program, Adam(0.1), None, batches, program.init(0), 0), CompiledRun)


@ppl.model
def coded():
    """One latent and one observation."""
    z = ppl.sample("z", ppl.Normal(0.0, 1.0))
    ppl.sample("x", ppl.Normal(z, 1.0), obs=np.array(0.3))


@ppl.model
def guide():
    ppl.sample("z", ppl.Normal(ppl.param("loc", 0.2), 1.0))


def test_weights_of_the_kl_divergence():
    for value in (*NOT_NUMBERS, -0.1):
        with pytest.raises(OptionError, match="kl_weight"):
            ppl.elbo(coded, guide, kl_weight=value)
    weighted = ppl.compile(ppl.elbo(coded, guide, kl_weight=ppl.hyper("beta", 1.0)), dtype="float64")
    for value in (-0.1, NAN, lambda step: -1e-9):
        with pytest.raises(OptionError, match="hyper 'beta'"):
            weighted.value(weighted.init(0), hyper={"beta": value})
    assert ppl.elbo(coded, guide, kl_weight=0.0).kl_weight == 0.0


def test_temperatures_set_at_run_time_are_positive():
    relaxed = units_program("relaxed")
    state = relaxed.init(0, data())
    for value in (0.0, -0.5, NAN, lambda step: -0.5):
        with pytest.raises(OptionError, match="hyper 'temperature'"):
            relaxed.value_and_grad(state, data(), hyper={"temperature": value})
    with pytest.raises(EstimatorError, match="temperature must be positive"):
        Relaxed(temperature=ppl.hyper("tau", -1.0))


@pytest.mark.parametrize("step", [None, "x", 1.5, -1, 2**70, True, np.ones(2)], ids=str)
@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "piecewise"])
def test_the_step_of_a_schedule_is_a_whole_number(name, step):
    made = {"linear": (0.1, 0.0, 5), "cosine": (0.1, 0.0, 5), "constant": (0.1,), "piecewise": ([3], [0.1, 0.2])}
    schedule = getattr(optim, name)(*made[name])
    with pytest.raises(OptionError, match=f"{name}.*: the step must be a whole number"):
        schedule(step)
    assert schedule(np.int32(2)) == schedule(np.array(2)) == schedule(2)


def test_a_rate_beyond_the_integers_of_64_bits_is_a_float():
    program = units_program("score", "float64")
    state = program.init(0, data())
    large, same = (program.update(state, data(), optimizer=SGD(rate), seed=1)[0] for rate in (2**70, 2.0**70))
    for name, value in large.params.items():
        np.testing.assert_array_equal(value, same.params[name])
