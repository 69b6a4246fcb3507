"""`program.profile`: every step is named, shares add up, and the program itself does not change."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.compiler.schedule.stages import all_steps
from ppl.errors import DataError

X = np.random.default_rng(0).normal(size=(90, 12))


@ppl.model
def layered(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(ppl.dense("mean", x, 40), 1.0))
        b = ppl.sample("b", Bernoulli(logits=ppl.dense("logit", z, 40)))
        ppl.cost("loss", ((b - 0.3) ** 2).sum())


@ppl.model
def toy():
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.0)))
    ppl.cost("loss", (b - 0.499) ** 2)


def test_every_step_is_named_and_shares_add_up():
    program = ppl.compile(layered, data=X, particles=2)
    state = program.init(0)
    before = program.source
    profile = program.profile(state, X, repeats=5)
    assert program.source == before and "cycles" not in before
    executable = program.prepare().executable("gradient")
    kinds = [r.kind for r in profile.rows]
    steps = [s for stage in executable.stages for s in all_steps(stage)]
    assert sum(k in ("kernel", "product", "noise") for k in kinds) == len(steps)
    assert kinds.count("kernel") == executable.kernels == profile.kernels
    assert {r.name for r in profile.rows if r.kind == "noise"} == {"z", "b"}
    assert sum(r.share for r in profile.rows) == pytest.approx(1.0, abs=0.02)
    assert sum(r.seconds for r in profile.rows) == pytest.approx(profile.serial, rel=0.02)
    assert profile.flops >= 2 * 90 * 12 * 40 and profile.rate > 0 and profile.workspace > 0
    assert 0 <= profile.python <= profile.seconds
    noise = {r.name: r.bytes for r in profile.rows if r.kind == "noise"}
    assert noise == {"z": 90 * 2 * 40 * 4, "b": 90 * 2 * 40 * 4}
    flops, nbytes = 2 * 180 * 40 * 40, 4 * (180 * 40 + 40 * 40 + 180 * 40)  # z @ W for two particles of every row
    first = next(r for r in profile.rows if r.kind == "product" and r.flops == flops)
    assert first.bytes == nbytes
    least = max(first.flops / profile.rates.flops, first.bytes / profile.rates.bytes)
    assert first.roof == pytest.approx(least / first.seconds)
    names = [name for name, _ in profile.compiled]
    assert "rows_0" in names and "fill_rows_f32" in names and len(names) == len({*names})
    assert all(seconds > 0 for _, seconds in profile.compiled)
    for row in profile.rows:
        assert row.kind in str(profile)


def test_a_target_without_a_cycle_counter_is_refused():
    state = ppl.compile(toy).init(0)
    with pytest.raises(DataError, match="steps of programs for 'cuda'"):
        ppl.compile(toy, target="cuda").profile(state)


@pytest.mark.parametrize("particles", [None, 500])
def test_a_small_program_and_its_value(particles):
    program = ppl.compile(toy)
    state = program.init(0)
    for kind in ("gradient", "value"):
        profile = program.profile(state, repeats=3, kind=kind, particles=particles, seed=1)
        assert sum(r.share for r in profile.rows) == pytest.approx(1.0, abs=0.02)
        assert profile.workspace > 0 and profile.python < profile.seconds  # straight-line code is timed, too
        assert profile.table() == str(profile)


def test_wrong_arguments():
    program = ppl.compile(toy)
    state = program.init(0)
    for wrong in ({"kind": "sample"}, {"repeats": 0}, {"threads": 2}):
        with pytest.raises(DataError, match="profile"):
            program.profile(state, **wrong)
