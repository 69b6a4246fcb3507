"""Malformed and well-formed values of every kind, by name: what a user may hand over by mistake."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl


class Odd:
    """An object without any protocol."""

    def __repr__(self) -> str:
        return "Odd()"


class Unshowable:
    """An object that cannot be printed."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@ppl.model
def other() -> None:
    """A model."""
    ppl.cost("c", ppl.param("other", 0.0))


def pool() -> dict[str, Any]:
    """The values; made anew for every call, so that none is changed by another."""
    return {
        "None": None,
        "True": True,
        "-1": -1,
        "0": 0,
        "1": 1,
        "3": 3,
        "2**70": 2**70,
        "-2**70": -(2**70),
        "0.0": 0.0,
        "0.5": 0.5,
        "-1.5": -1.5,
        "9.0": 9.0,
        "1e300": 1e300,
        "nan": float("nan"),
        "inf": float("inf"),
        "1j": 1j,
        "''": "",
        "'x'": "x",
        "'auto'": "auto",
        "'a/b\\0'": "a/b\0",
        "b'x'": b"x",
        "()": (),
        "[]": [],
        "[1, 2]": [1, 2],
        "['a', None]": ["a", None],
        "[[1], [2, 3]]": [[1], [2, 3]],
        "(2, 'x')": (2, "x"),
        "{}": {},
        "{'a': 1}": {"a": 1},
        "{'logit': 'x'}": {"logit": "x"},
        "{'*': None}": {"*": None},
        "{1: 2}": {1: 2},
        "set": {1, "a"},
        "slice": slice(0, 2),
        "slice of text": slice("a", None),
        "Ellipsis": Ellipsis,
        "object": Odd(),
        "function": lambda *args, **options: None,
        "generator": (i for i in range(2)),
        "np.int64": np.int64(3),
        "np.float32": np.float32(0.5),
        "np.bool_": np.bool_(True),
        "array()": np.array(1.0),
        "array[2]": np.array([1.0, 2.0]),
        "array[int]": np.array([1, -2]),
        "array[2, 3]": np.ones((2, 3)),
        "array[0]": np.zeros(0),
        "array[nan]": np.array([np.nan, 1.0]),
        "array[text]": np.array(["a", "b"]),
        "array[object]": np.array([None, 1.0], object),
        "array[complex]": np.array([1j, 2.0]),
        "unshowable": Unshowable(),
        "array[date]": np.array(["2020-01-01"], "datetime64[D]"),
        "masked": np.ma.masked_array([1.0, 2.0], [0, 1]),
        "matrix": np.asmatrix([[1.0, 2.0]]),
        "model": other,
        "distribution": ppl.Normal(0.0, 1.0),
        "estimator": ppl.estimators.Pathwise(),
        "optimizer": ppl.optim.SGD(0.1),
        "spec": ppl.spec((None, 2)),
        "hyper": ppl.hyper("h", 0.5),
    }
