"""Sampling and log-density of 10⁶ values of common distributions, against NumPy, PyTorch and JAX.

Ours are compiled programs: a plate of 1000 rows with 1000 units each (100 units of Dirichlet), parameters read at run
time. A draw is `program.sample`, which returns the array; a log-density is `program.value` of its sum over data.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import ppl
from benchmarks.distribution_cases import (
    CLASSES,
    COLUMNS,
    CONCENTRATION,
    COUNT,
    LAWS,
    LOGITS,
    ROWS,
    numpy_draws,
    values,
)
from benchmarks.forms import Form, calls_for, seconds_per_step
from benchmarks.peer import Peer, PeerError, Peers
from benchmarks.timing import check

TURNS, SECONDS, GOAL = 5, 0.04, 2.0
LIMITS = (
    "A call of ours costs 25 µs outside the loops over values, and the check that data hold no NaN or class out "
    "of range 30 µs; of 10⁶ values that is a fifth of a log-density that takes 0.3 ms.",
    "log_prob Gamma: three forms are computed of every value, and one is chosen (by the logarithm of the value, "
    "by that of its ratio to the mean, and a series near the mean), so that a learned concentration may be "
    "anything up to 1e6. With the first two, and before parameters were checked at run time, the ratios were 1.5 "
    "and 1.7.",
    "log_prob Gamma, Beta, StudentT: the loops are in 512-bit registers without calls, branches, divisions or "
    "float64. Of Gamma's (before the series) and StudentT's 65 to 72 instructions for 16 values, 17 and 18 are "
    "multiplications and multiply-adds, 13 of them a logarithm's, as in the others' formulas. Tried: a logarithm "
    "with two operations less (-14 % of a loop of logarithms), no guards where its argument is known to be "
    "positive (less than 1 %), log(1 + x) without its division (-6 % of StudentT).",
    "log_prob Categorical: 23 vector instructions for 16 values, a comparison and a choice per class. Tried: "
    "reading the table lane by lane, classes converted to 64 bits and checked on one thread (370 million values a "
    "second); comparisons on classes as given, checked on all threads (4000). One permutation would replace them, "
    "which LLVM's loop vectoriser does not emit.",
    "Between two sittings the ratio of log_prob Categorical was 1.4 and 2.7, that of Dirichlet 2.2 and 1.7.",
)
"""Why some of the goals are missed."""


def law(name: str) -> Any:
    """The distribution of one row, its parameters learnable so that they are no constants; None where there is none."""
    kind = getattr(ppl, name.split("(")[0], None)
    if kind is None:
        return None
    if name.startswith("Dirichlet"):
        return kind(ppl.param("concentration", np.array(CONCENTRATION))).expand((COLUMNS // CLASSES,))
    if name.startswith("Categorical"):
        return kind(logits=ppl.param("logits", np.array(LOGITS))).expand((COLUMNS,))
    fixed = {"total_count"}
    return kind(**{k: v if k in fixed else ppl.param(k, v) for k, v in LAWS[name].items()}).expand((COLUMNS,))


def sampling(name: str) -> Form:
    """A program that draws COUNT values."""

    @ppl.model
    def model() -> None:
        with ppl.plate("rows", ROWS):
            ppl.sample("x", law(name), estimator=None)
        ppl.cost("none", 0.0)

    program = ppl.compile(model)
    state = program.init(seed=0)
    return Form(lambda: program.sample(state, sites=["x"]))


def density(name: str) -> Form:
    """A program whose loss is minus the summed log-density of COUNT values."""

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("data", x) as row:
            ppl.sample("x", law(name), obs=row)

    x = values(name)
    x = x.reshape(ROWS, COLUMNS // CLASSES, CLASSES) if name.startswith("Dirichlet") else x.reshape(ROWS, COLUMNS)
    program = ppl.compile(ppl.likelihood(model), data=x)
    state = program.init(seed=0)
    return Form(lambda: program.value(state, x))


def ours(names: Sequence[str]) -> dict[str, Form]:
    """The forms of those distributions that there are."""
    known = [name for name in names if hasattr(ppl, name.split("(")[0])]
    makers = (("sample", sampling), ("log_prob", density))
    return {f"{what} {name}": make(name) for name in known for what, make in makers}


def numpy_forms() -> dict[str, Form]:
    """NumPy's generator, one thread."""
    rng = np.random.default_rng(0)
    return {f"sample {name}": Form(lambda name=name: numpy_draws(name, rng)) for name in LAWS}


def race(form: Form, calls: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of a call of ours and of everyone else, in turns."""
    count, turns = calls_for(form, SECONDS), {label: [] for label in ("ppl", *calls)}
    for _ in range(TURNS):
        form.call()
        turns["ppl"].append(seconds_per_step(form, count))
        for label, call in calls.items():
            turns[label].append(call())
    return {label: statistics.median(seconds) for label, seconds in turns.items()}


def local(form: Form) -> Callable[[], float]:
    """A contestant of this process."""
    count = calls_for(form, SECONDS)
    return lambda: seconds_per_step(form, count)


def remote(peer: Peer, label: str) -> Callable[[], float]:
    """A contestant in a peer's process."""
    count = peer.calls_for(label, SECONDS)
    return lambda: peer.seconds_per_step(label, count)


def measure(peers: Sequence[str], names: Sequence[str]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Millions of values per second by form and library, and notes of what was left out."""
    local_forms, notes, rates = numpy_forms(), [], {}
    with contextlib.ExitStack() as stack:
        others: dict[str, Peer] = {}
        for name in peers:
            try:
                python = {"python": peers.python} if isinstance(peers, Peers) else {}
                others[name] = stack.enter_context(Peer(f"distribution_speed_{name}", **python))
            except PeerError as error:
                notes.append(f"{name} is left out: {str(error).splitlines()[-1]}")
        for label, form in ours(names).items():
            calls = {"NumPy": local(local_forms[label])} if label in local_forms else {}
            calls |= {name: remote(peer, label) for name, peer in others.items() if label in peer.labels}
            rates[label] = {who: COUNT / seconds / 1e6 for who, seconds in race(form, calls).items()}
    return rates, notes


def record(rates: dict[str, dict[str, float]], notes: Sequence[str]) -> dict[str, Any]:
    """The record: a table of rates, and one promise per row."""
    rates = {label: rates[label] for label in sorted(rates, key=lambda label: not label.startswith("sample"))}
    columns = ["ppl", *dict.fromkeys(who for found in rates.values() for who in found if who != "ppl")]
    rows = []
    for label, found in rates.items():
        cells = [f"{found[c]:.0f}" if c in found else "" for c in columns]
        rows.append([label, *cells, f"{_ratio(found):.2f}" if len(found) > 1 else ""])
    return {
        "title": "10⁶ values of common distributions, float32, two threads: millions of values per second",
        "tables": [{"columns": ["", *columns, "ppl / fastest other"], "rows": rows}],
        "checks": [
            check(label, _ratio(found), GOAL, "×", at_most=False) for label, found in rates.items() if len(found) > 1
        ],
        "details": {"rates": rates},
        "notes": [
            *notes,
            "NumPy draws on one thread; its Beta, Dirichlet, StudentT and VonMises are float64.",
            "Of Dirichlet, 10⁵ vectors of 10 entries count as 10⁶ values.",
            "Gamma, Beta, Dirichlet, StudentT, Poisson, Binomial and VonMises draw in blocks of lanes that vectorise, "
            "rejected lanes together again; Categorical compares one uniform with the cumulative probabilities.",
            *LIMITS,
        ],
    }


def run(peers: Sequence[str]) -> dict[str, Any]:
    """Race each distribution."""
    return record(*measure(peers, list(LAWS)))


def _ratio(found: dict[str, float]) -> float:
    """Our rate over that of the fastest other."""
    return found["ppl"] / max(rate for who, rate in found.items() if who != "ppl")
