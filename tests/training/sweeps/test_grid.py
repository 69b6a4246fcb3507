"""Grids: which runs they have, and the keys by which other processes know these again."""

import dataclasses
import functools
import subprocess
import sys
import threading

import numpy as np
import pytest

import ppl
from ppl.errors import OptionError
from ppl.sweeps.grid import hash_code, plan_runs
from tests.training.sweeps.builds import mean


def _shown(grid):
    return [run.cells for run in plan_runs(grid)]


def test_all_combinations_in_order_the_last_fastest():
    assert _shown({"a": [1, 2], "b": range(2)}) == [{"a": a, "b": b} for a in (1, 2) for b in (0, 1)]


def test_dicts_follow_one_another_and_runs_are_listed_once():
    found = _shown([{"a": [1, 2], "b": 0}, {"a": 2, "b": [0, 5]}, {"c": "x"}])
    assert found == [{"a": 1, "b": 0}, {"a": 2, "b": 0}, {"a": 2, "b": 5}, {"c": "x"}]


def test_what_alternatives_are():
    grid = {
        "shape": (3, 4),
        "rate": np.array([0.1, 0.2], np.float32),
        "optimizer": {"slow": ppl.optim.SGD(0.1), "fast": ppl.optim.Adam()},
        "list": [[1, 2]],
    }
    runs = plan_runs(grid)
    assert len(runs) == 4
    assert runs[0].settings["shape"] == (3, 4) and runs[0].cells["shape"] == "(3, 4)"
    assert type(runs[0].settings["rate"]) is float and runs[0].settings["list"] == [1, 2]
    assert [run.cells["optimizer"] for run in runs] == ["slow", "fast"] * 2
    assert isinstance(runs[1].settings["optimizer"], ppl.optim.Adam)


KEYS = """
import numpy as np, ppl
from ppl.sweeps.grid import hash_code, plan_runs
from tests.training.sweeps.builds import descend, table
grid = {"größe": [1, 1.0, True, None, "1", (1,)], "e": [ppl.estimators.ScoreFunction("leave_one_out"), descend],
        "x": [np.arange(1000.0).reshape(2, 500)]}
print(*(run.key for run in plan_runs(grid)), hash_code(descend), hash_code(table))
"""


def test_keys_are_the_same_in_every_process_and_differ_between_runs():
    found = {
        subprocess.run([sys.executable, "-c", KEYS], env={"PYTHONHASHSEED": seed, "PATH": ""}, text=True, check=True,
                       capture_output=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    (line,) = found
    assert len(set(line.split())) == 14


STORED_KEYS = {
    "e02151605a78b43a": ppl.optim.SGD(0.1),
    "bcefe96dcd3aad31": ppl.optim.Momentum(0.1, nesterov=True),
    "a2d41a7138dab134": ppl.optim.AdaGrad(0.1),
    "6e6efabdcd3f3155": ppl.optim.RMSProp(0.1),
    "ed3d7558c63b1ecb": ppl.optim.Adam(ppl.optim.exponential(0.1, 0.5, 10)),
    "2273db62d5e60911": ppl.optim.AdamW(0.1, weight_decay=0.1),
    "cf95258e83ff5ba7": ppl.optim.LazyAdam(0.1),
    "e271ed3f82f1a238": ppl.optim.cosine(0.1, 0.0, 10),
    "fa9ab97254dab0d3": {"*": ppl.optim.Adam(0.1)},
    "df83b3e5982c4f77": ppl.estimators.ScoreFunction("leave_one_out"),
    "1e2e26312c7b6942": ppl.HalfCauchy,
    "8516b5f908009fe1": 1.5,
}
"""Values of a setting "optimizer", by the keys of their runs in folders of earlier versions."""


@pytest.mark.parametrize(("key", "value"), STORED_KEYS.items(), ids=STORED_KEYS)
def test_runs_of_earlier_versions_are_known_again(key, value):
    (run,) = plan_runs({"optimizer": [value]})
    assert run.key == key


@dataclasses.dataclass
class Holder:
    array: np.ndarray


class Terse:
    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return "Terse"


def scaled(number, x):
    return number * x


def _long(number):
    return np.where(np.arange(5000) == 2500, number, 0.0)


@pytest.mark.parametrize(
    "made",
    [lambda x: Holder(_long(x)), Terse, lambda x: functools.partial(scaled, x), lambda x: {"a": _long(x)}],
    ids=["dataclass", "terse", "partial", "dict"],
)
def test_values_whose_texts_are_alike_are_different_runs(made):
    runs = plan_runs({"a": [made(1.0), made(1.0 + 1e-12), made(1.0)]})
    assert len(runs) == 2


def test_laws_and_models_need_labels_and_schedules_do_not():
    for value in (ppl.Normal(0.0, 1.0), mean):
        with pytest.raises(OptionError, match="Give its values labels"):
            plan_runs({"a": [value]})
    rates = [
        ppl.optim.linear(1.0, 0.0, 10),
        ppl.optim.linear(1.0, 0.0, 20),
        ppl.optim.Adam(ppl.optim.cosine(1.0, 0.1, 9)),
    ]
    assert len(plan_runs({"a": rates})) == 3


def test_tables_are_known_by_their_content():
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame({"a": _long(x)}) for x in (1.0, 1.0 + 1e-12, 1.0)]
    assert len(plan_runs({"a": frames})) == 2


def test_keys_do_not_depend_on_the_order_of_settings():
    one, other = plan_runs({"a": 1, "b": "x"})[0], plan_runs({"b": "x", "a": 1})[0]
    assert one.key == other.key != plan_runs({"a": "x", "b": 1})[0].key


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"a": object()}, "'a' is <object"),
        ({"a": [threading.Lock()]}, "labels"),
        ({"a": [lambda: 1]}, "without a name"),
        ({"status": 1}, "column"),
        ({"a b": 1}, "names of arguments"),
        ({"a": []}, "no runs"),
        ([], "grid must be"),
        ("abc", "grid must be"),
        ([1], "names of arguments"),
        ({"a": {(1, 2): 3}}, "label"),
    ],
)
def test_what_is_no_grid_is_refused(grid, words):
    with pytest.raises(OptionError, match=words):
        plan_runs(grid)


def test_a_label_stands_for_what_has_no_meaning():
    assert _shown({"a": {"lock": threading.Lock()}}) == [{"a": "lock"}]


def test_code_counts_and_comments_do_not():
    def made(text):
        scope = {}
        exec(text, scope)
        return hash_code(scope["f"])

    first = made("def g(x):\n    return x + 1\ndef f(x):\n    'Doc.'\n    return g(x)")
    assert first == made("\n# why\ndef g(x):\n    return x + 1\ndef f(x):\n    'Other.'\n    return g(x)  # so")
    assert first != made("def g(x):\n    return x + 2\ndef f(x):\n    'Doc.'\n    return g(x)")
    assert first != made("def g(x):\n    return x + 1\ndef f(x, y=2):\n    'Doc.'\n    return g(x)")
