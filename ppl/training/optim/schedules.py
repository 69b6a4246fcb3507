"""Schedules: functions of the training step, for learning rates and for `hyper=`.

A schedule is any callable step → float; those here are checked when they are made, print as they were
written, and start at step 0."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

from ppl.arguments import number, number_at, shown, step_count
from ppl.errors import OptionError
from ppl.names import keywords
from ppl.records import dataclass

Rate = float | Callable[[int], float]


@dataclass(frozen=True)
class Schedule:
    """A function of the step that prints as the call that made it."""

    label: str
    function: Callable[[int], float]

    def __call__(self, step: int) -> float:
        return self.function(step_count(f"{self.label}: the step", step))

    def __repr__(self) -> str:
        return self.label


@keywords
def constant(value: float) -> Schedule:
    """Return the schedule that is `value` at every step."""
    value = _check_finite("constant", value=value)
    return Schedule(f"constant({value})", lambda step: value)


@keywords
def linear(start: float, end: float, steps: int) -> Schedule:
    """Return a straight line from `start` at step 0 to `end` at step `steps`, and `end` from there on."""
    _check_finite("linear", start=start, end=end)
    _check_steps("linear", steps)
    return Schedule(f"linear({start}, {end}, {steps})", lambda step: start + (end - start) * min(step / steps, 1.0))


@keywords
def cosine(start: float, end: float, steps: int) -> Schedule:
    """Return half a cosine wave from `start` at step 0 to `end` at step `steps`, and `end` from there on.

    References
    ----------
    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    _check_finite("cosine", start=start, end=end)
    _check_steps("cosine", steps)

    def value(step: int) -> float:
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))

    return Schedule(f"cosine({start}, {end}, {steps})", value)


@keywords
def exponential(start: float, decay: float, steps: int = 1) -> Schedule:
    """Return start · decay^(step / steps): multiplied by `decay` every `steps` steps, smoothly."""
    _check_finite("exponential", start=start, decay=decay)
    _check_steps("exponential", steps)
    if decay <= 0.0:
        raise OptionError(f"exponential: decay must be positive, not {decay}")
    return Schedule(f"exponential({start}, {decay}, {steps})", lambda step: start * decay ** (step / steps))


@keywords
def piecewise(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """Return `values[0]` before step `boundaries[0]`, `values[i]` from step `boundaries[i - 1]` on."""
    steps, given = _as_list("boundaries", boundaries), _as_list("values", values)
    edges = tuple(number("piecewise: a boundary", b) for b in steps)
    levels = tuple(number("piecewise: a value", v) for v in given)
    if len(levels) != len(edges) + 1:
        raise OptionError(f"piecewise: {len(edges)} boundaries separate {len(edges) + 1} values, not {len(levels)}")
    if any(b <= a for a, b in itertools.pairwise(edges)):
        raise OptionError(f"piecewise: boundaries must increase, not {steps}")
    return Schedule(f"piecewise({steps}, {list(levels)})", lambda step: levels[bisect.bisect_right(edges, step)])


def _as_list(name: str, values: Sequence[float]) -> list[float]:
    try:
        return list(values)
    except TypeError:
        raise OptionError(f"piecewise: {name} is a sequence of numbers, not {shown(values)}") from None


@keywords
def robbins_monro(a: float, b: float = 1.0, power: float = 1.0) -> Schedule:
    """Return αₜ = a / (b + t)^power: steps that sum to infinity while their squares do not.

    Parameters
    ----------
    a, b : float
        Positive scale and offset.
    power : float
        In (1/2, 1], the range in which stochastic approximation converges.

    Raises
    ------
    OptionError
        A parameter is out of range.

    References
    ----------
    Robbins and Monro, A Stochastic Approximation Method, 1951.
    """
    _check_finite("robbins_monro", a=a, b=b, power=power)
    if a <= 0.0 or b <= 0.0:
        raise OptionError(f"robbins_monro: a and b must be positive, not a={a}, b={b}")
    if not 0.5 < power <= 1.0:
        raise OptionError(
            f"robbins_monro: power must lie in (1/2, 1], not {power}: the steps have to sum to infinity, "
            "their squares must not"
        )
    return Schedule(f"robbins_monro({a}, {b}, {power})", lambda step: a / (b + step) ** power)


def rate_at(rate: Rate, step: int, owner: str = "") -> float:
    """Return the value of a number or schedule at a step.

    Raises
    ------
    ScheduleError
        The schedule gives no finite number that is not negative, or raises.
    """
    return number_at(f"{owner}: lr" if owner else "lr", rate, step, 0.0) if callable(rate) else rate


def check_rate(owner: str, rate: Rate) -> None:
    """Raise OptionError unless `rate` is callable or a finite number that is not negative."""
    if not callable(rate) and not number(f"{owner}: lr", rate) >= 0.0:
        raise OptionError(f"{owner}: the learning rate must not be negative, not {rate}")


def _check_finite(owner: str, **values: float) -> float:
    """Return the last of `values`, after checking that each is a finite number."""
    for name, value in values.items():
        found = number(f"{owner}: {name}", value)
    return found


def _check_steps(owner: str, steps: float) -> None:
    if not number(f"{owner}: steps", steps) >= 1:
        raise OptionError(f"{owner}: steps must be at least 1, not {shown(steps)}")
