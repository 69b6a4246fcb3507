"""Names that are not there: of results, and of arguments. Errors say which there are, and which was likely meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn, Self, TypeVar, cast

from ppl.arguments import shown
from ppl.errors import UnknownNameError

V = TypeVar("V")
Function = TypeVar("Function", bound=Callable[..., Any])
LISTED = 12
"""Names that a message lists at most."""


ELSEWHERE: dict[str, str] = {
    "loc": "mean mu location center shift",
    "scale": "std stddev stdev sd sigma",
    "scale_diag": "std stddev sigma",
    "concentration": "alpha a shape kappa",
    "concentration1": "alpha a",
    "concentration0": "beta b",
    "rate": "beta b lam lambda_ mu intensity",
    "probs": "p prob probability pi",
    "gate": "p pi",
    "total_count": "n trials count",
    "df": "nu dof",
    "covariance_matrix": "cov covariance sigma",
    "precision_matrix": "precision tau",
    "low": "lower a minval",
    "high": "upper b maxval",
    "obs": "observed observation data value",
    "lr": "learning_rate step_size alpha",
    "beta": "momentum gamma",
    "b1": "beta1 betas",
    "b2": "beta2 betas",
    "decay": "alpha rho",
    "start": "begin",
    "particles": "samples num_samples n_samples size draws n",
    "steps": "num_steps n_steps iterations",
    "batch_size": "batch minibatch",
    "seed": "random_state rng key",
    "target": "device backend",
}
"""What other libraries, and papers, call arguments."""

REPLACED = {
    "comm": "several processes take the rows of program.on(comm); ",
    "replicated": "say program.on(comm, replicated=...); ",
}
"""Arguments of earlier versions, and what to write in their place."""


def near(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """At most two names that `name` may stand for: what others call so, then those that are spelled alike."""
    names = list(known)
    same = [n for n in names if name in ELSEWHERE.get(n, "").split()]
    alike = [n for n in names if n.startswith(name) and len(name) > 2]
    return list(dict.fromkeys([*same, *alike, *difflib.get_close_matches(name, names, n=2, cutoff=cutoff)]))[:2]


def guessed(name: Any, known: Iterable[str]) -> str:
    """The question which name was meant, with a space behind it; "" where nothing is near."""
    found = near(name, known) if isinstance(name, str) else []
    return f"did you mean {' or '.join(map(repr, found))}? " if found else ""


@functools.lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any], skip: int) -> frozenset[str] | None:
    """Names that a function takes by keyword, less the first ones; None if it takes any."""
    found = list(inspect.signature(function).parameters.values())[skip:]
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return None
    return frozenset(p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _refuse(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a TypeError for the first of the `given` keywords that is not `known`."""
    for name in given:
        if name not in known:
            listed = ", ".join(known) or "none"
            advice = REPLACED.get(name) or guessed(name, known)
            raise TypeError(f"{owner} has no argument '{name}': {advice}it takes {listed}") from None


def _check(
    function: Callable[..., Any], owner: str, given: Collection[str], skip: int, more: Iterable[str] = ()
) -> None:
    known = _parameters(function, skip)
    if known is None and not more:
        return
    if known is None or not known.issuperset(given):
        taken = list(inspect.signature(function).parameters.values())[skip:]
        names = [p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        _refuse(owner, given, [*names, *(n for n in more if n not in names)])


def keywords(function: Function) -> Function:
    """A function or method that says which keyword was meant when one is wrong, by a TypeError."""
    skip = int(next(iter(inspect.signature(function).parameters), "") == "self")

    @functools.wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        try:  # which costs nothing, while a step may take microseconds
            return function(*args, **given)
        except TypeError:
            _check(function, f"{function.__name__}()", given, skip)
            raise

    return cast(Function, checked)


class Keywords:
    """Base of classes whose instances are made with keywords: a wrong one is a TypeError that says which was meant."""

    __slots__ = ()

    def __new__(cls, *args: Any, **given: Any) -> Self:
        """The new instance, before `__init__`."""
        if given:
            _check(cls.__init__, cls.__name__, given, 1, getattr(cls, "constraints", ()))
        return super().__new__(cls)


def unknown(what: str, name: Any, known: Collection[Any]) -> NoReturn:
    """Raise for a `what` ("node", "parameter", ...) of a name that is not among those known."""
    names = [str(item) for item in known]
    listed = ", ".join(names[:LISTED]) + (f", … ({len(names)} in all)" if len(names) > LISTED else "")
    raise UnknownNameError(f"no {what} named {shown(name)}: {guessed(name, names)}there are {listed or 'none'}")


class Named(dict[str, V]):
    """A dict by name; a missing name raises `UnknownNameError`, which is a KeyError and lists what there is.

    Arrays by parameter (parameters, gradients, updates) are plain dicts, which other libraries take for trees.
    """

    def __init__(self, what: str, *values: Any):
        super().__init__(*values)
        self.what = what

    def __getitem__(self, name: Any) -> V:
        try:
            return super().__getitem__(name)
        except (KeyError, TypeError):  # a TypeError for what cannot be a name, such as a list
            pass
        unknown(self.what, name, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, dict(self))

    def copy(self) -> Named[V]:
        """A copy, of the same kind."""
        return type(self)(self.what, self)
