"""A state keeps the estimators it was trained with: saved as JSON, loaded, compiled again to the same bits."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import ppl
import ppl.estimators
from ppl import Bernoulli, Normal
from ppl.errors import DataError
from ppl.estimators import (
    Combine,
    Enumerate,
    Hyper,
    Pathwise,
    Rebar,
    Relax,
    Relaxed,
    ScoreFunction,
    StraightThrough,
    by_default,
)
from ppl.estimators.base import Estimator
from ppl.estimators.serialize import from_json, to_json
from ppl.runtime.state import pack_state, unpack_state
from tests.program.programs import data, mixed, same

CHOICE = {"b": Rebar(temperature=0.4, eta=0.8), "z": ScoreFunction("moving_average"), "shift": Pathwise()}

OTHER = {**CHOICE, "b": ScoreFunction("moving_average")}

ADAM = ppl.optim.Adam(1e-2)


def program_with(estimators):
    return ppl.compile(mixed, estimators, dtype="float64", data=data())


@pytest.fixture(scope="module")
def program():
    return program_with(CHOICE)


@pytest.mark.parametrize(
    "estimator",
    [
        *by_default(),
        Combine(Pathwise(), ScoreFunction()),
        Rebar(temperature=ppl.hyper("tau", 0.3), eta=np.float64(0.5), adapt_eta=False),
        Rebar(temperature=0.2, adapt_temperature=True),
        Relax(temperature=Hyper("t", 2.0), width=7),
        Relaxed(temperature=ppl.hyper("tau", 0.3), hard=True),
        ScoreFunction("learned", width=np.int64(3), rate=0.02),
        Enumerate(budget=17),
    ],
    ids=lambda e: e.label,
)
def test_every_estimator_survives_plain_json(estimator):
    packed = json.loads(json.dumps(to_json({"scope/b[0]": estimator}), allow_nan=False))
    (node, again), *rest = from_json(packed).items()
    assert (node, again, rest) == ("scope/b[0]", estimator, [])
    assert type(again) is type(estimator)


def test_states_carry_the_choice_of_the_program_that_made_them(program):
    x = data()
    state = program.init(0, x)
    assert state.estimators == CHOICE == program.explain().as_dict()
    loose = state.replace(estimators={})
    assert loose.estimators == {}
    assert program.step(loose, x)[2].estimators == CHOICE
    assert program.update(loose, x, optimizer=ADAM)[0].estimators == CHOICE
    assert state.replace(step=3).estimators == pickle.loads(pickle.dumps(state)).estimators == CHOICE
    state.estimators["b"] = Enumerate()
    assert state.estimators == CHOICE
    assert ppl.fit(program, x, steps=1, optimizer=ADAM).state.estimators == CHOICE


def test_save_load_compile_takes_the_same_next_step(program, tmp_path):
    x = data()
    state = ppl.fit(program, x, steps=3, optimizer=ADAM, seed=5).state
    state.save(tmp_path / "state.npz")
    loaded = ppl.load_state(tmp_path / "state.npz")
    again = ppl.compile(mixed, estimators=loaded.estimators, dtype="float64", data=x)
    assert again.explain().as_dict() == program.explain().as_dict()
    (one, loss), (two, loss_again) = (p.update(s, x, optimizer=ADAM) for p, s in ((program, state), (again, loaded)))
    assert loss == loss_again and same(one.params, two.params) and same(one.aux, two.aux)


def test_nothing_but_names_numbers_and_strings_is_stored(program, tmp_path):
    program.init(0, data()).save(tmp_path / "state.npz")
    with np.load(tmp_path / "state.npz", allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
    options = {"temperature": 0.4, "eta": 0.8, "adapt_eta": True, "adapt_temperature": False}
    assert meta["estimators"]["b"] == {"class": "Rebar", "options": options}


def test_a_tuned_fit_resumes_bit_for_bit(tmp_path):
    @ppl.model
    def model():
        z = ppl.sample("z[0]", Normal(ppl.param("mu", 1.0), 1.0))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.0)))
        ppl.cost("c", np.cos(5 * z) + (b - 0.4) ** 2)

    program = ppl.compile(model)
    candidates = {"z[0]": (ScoreFunction("moving_average"),), "b": (Rebar(),)}
    options = {"budget_seconds": 0.5, "candidates": candidates, "particles": (4,), "clock": "interpreter"}
    tuned = ppl.tune(program, program.init(0), **options)
    assert tuned.explain()["z[0]"].estimator != program.explain()["z[0]"].estimator == Pathwise()
    path = tmp_path / "run.npz"
    whole = ppl.fit(tuned, steps=6, optimizer=ADAM, seed=2)
    ppl.fit(tuned, steps=6, optimizer=ADAM, seed=2, checkpoint=path, callback=lambda step, *_: step == 2)
    options = {"estimators": ppl.load_state(path).estimators, "particles": tuned.explain().particles}
    resumed = ppl.fit(ppl.compile(model, **options), steps=6, optimizer=ADAM, seed=2, checkpoint=path)
    assert resumed.state.step == 6 and same(resumed.params, whole.params) and same(resumed.state.aux, whole.state.aux)
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])
    with pytest.raises(DataError, match=r"other estimators: 'z\[0\]' had ScoreFunction.*, the program has Pathwise"):
        ppl.fit(program, steps=6, optimizer=ADAM, seed=2, checkpoint=path)


def test_a_checkpoint_is_not_continued_with_other_particles(program, tmp_path):
    """Another number draws other noise: it would be another run, and nothing else would show it."""
    x, path = data(), tmp_path / "run.npz"
    ppl.fit(program, x, steps=1, optimizer=ADAM, checkpoint=path)
    other = ppl.compile(mixed, CHOICE, particles=program.settings.particles + 2, dtype="float64", data=x)
    with pytest.raises(DataError, match=f"particles, the program {program.settings.particles + 2}: .*compile with"):
        ppl.fit(other, x, steps=2, optimizer=ADAM, checkpoint=path)


@pytest.mark.parametrize("other", [OTHER, {**CHOICE, "z": ScoreFunction()}], ids=["auxiliaries differ", "they do not"])
def test_a_checkpoint_is_not_continued_with_other_estimators(program, other, tmp_path):
    x, path = data(), tmp_path / "run.npz"
    ppl.fit(program_with(other), x, steps=1, optimizer=ADAM, checkpoint=path)
    expected = rf"compile with estimators=ppl.load_state\('{path}'\).estimators.*state=program.init\(seed, params="
    with pytest.raises(DataError, match=expected):
        ppl.fit(program, x, steps=2, optimizer=ADAM, checkpoint=path)
    params = program_with(other).params(ppl.load_state(path))
    moved = program.init(0, x, params=params)
    assert ppl.fit(program, x, steps=2, optimizer=ADAM, state=moved).state.estimators == CHOICE


def test_a_state_with_other_auxiliaries_says_how_to_keep_them(program):
    x = data()
    other = program_with(OTHER).init(0, x)
    expected = (
        r"'b' had ScoreFunction\(baseline='moving_average'\), the program has Rebar\(temperature=0.4, eta=0.8\).*"
        r"estimators=state.estimators"
    )
    with pytest.raises(DataError, match=expected):
        program.step(other, x)
    with pytest.raises(DataError, match=expected):
        ppl.fit(program, x, steps=1, optimizer=ADAM, state=other)


def test_a_given_state_begins_a_run_of_the_program(tmp_path):
    """Estimators without auxiliary variables may be changed between runs; the checkpoint has the new ones at once."""
    first, second = ({**CHOICE, "b": Enumerate(), "z": e} for e in (Pathwise(), ScoreFunction()))
    x, path = data(), tmp_path / "run.npz"
    program = program_with(second)
    state = program_with(first).init(0, x)
    ppl.fit(program, x, steps=0, optimizer=ADAM, state=state, checkpoint=path)
    assert ppl.load_state(path).estimators == second
    assert ppl.fit(program, x, steps=1, optimizer=ADAM, state=state, checkpoint=path).state.step == 1


def test_checkpoints_without_estimators_still_load(program, tmp_path):
    x, path = data(), tmp_path / "old.npz"
    whole = ppl.fit(program, x, steps=4, optimizer=ADAM)
    ppl.fit(program, x, steps=2, optimizer=ADAM, checkpoint=path)
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes())
    del meta["estimators"]
    np.savez(path, **{**arrays, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    assert ppl.load_state(path).estimators == {}
    resumed = ppl.fit(program, x, steps=4, optimizer=ADAM, checkpoint=path)
    assert same(resumed.params, whole.params) and resumed.state.estimators == CHOICE


@dataclass(frozen=True)
class Own(StraightThrough):
    """An estimator of a user."""

    strength: float = 1.0


@dataclass(frozen=True)
class WithFunction(StraightThrough):
    """An estimator with an option that no JSON can hold."""

    fn: Callable[[float], float] = abs


def test_estimators_of_users_are_found_by_name(program):
    state = program.init(0, data()).replace(estimators={"b": Own(2.0)})
    assert unpack_state(pack_state(state)).estimators == {"b": Own(2.0)}


def test_a_class_of_the_package_keeps_its_name():
    @dataclass(frozen=True)
    class Enumerate(Estimator):
        """Another class of the same name."""

    @dataclass(frozen=True)
    class Rebar(ppl.estimators.ScoreFunction):
        """And one below a class of the package."""

    given = {"a": ppl.estimators.Rebar(), "b": ppl.estimators.Enumerate()}
    assert from_json(to_json(given)) == given and not {type(e) for e in given.values()} & {Rebar, Enumerate}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "Rebarr"}, r"node 'b'.*estimator 'Rebarr', which is not defined here: import.*known: ARM, .*Rebar"),
        ({"options": {"heat": 1.0}}, r"node 'b'.*Rebar.*heat"),
        ({"options": {"temperature": -1.0}}, r"node 'b'.*must be positive"),
    ],
    ids=["class", "option", "value"],
)
def test_what_is_not_known_is_refused_by_name(change, message):
    packed = to_json({"b": Rebar()})
    packed["b"] |= change
    with pytest.raises(DataError, match=message):
        from_json(packed)


def test_an_option_that_cannot_be_stored_is_refused_before_training(tmp_path):
    program = program_with({**CHOICE, "b": WithFunction()})
    state = program.init(0, data())
    with pytest.raises(DataError, match=r"node 'b', WithFunction\(\): fn is a builtin.*, which a checkpoint cannot"):
        state.save(tmp_path / "state.npz")
    calls = []
    with pytest.raises(DataError, match="a checkpoint cannot store"):
        ppl.fit(program, data(), steps=1, optimizer=ADAM, checkpoint=tmp_path / "a.npz", callback=calls.append)
    assert not calls and not list(tmp_path.iterdir())
    state.replace(estimators={}).save(tmp_path / "state.npz")
    assert ppl.load_state(tmp_path / "state.npz").estimators == {}
