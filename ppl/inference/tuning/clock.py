"""What a tuning takes its times from: now, the seconds of a step, and a budget.

Everything else of a tuning is a function of its seed, so that another clock with the same times gives the same choice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppl.inference.tuning.standing import StandingSteps
from ppl.ir.reference.interpret import evaluate
from ppl.progress import line
from ppl.runtime.call import bind

if TYPE_CHECKING:
    from ppl.inference.tuning.contender import Contender

ADAPTED, TIMED, LONG = 200, 10, 0.1
"""Interpreted steps at most that adapt auxiliary variables, and that are timed where there are none; seconds of a step
from which two are enough."""
SETTLED, SETTLING = 1000, 0.1
"""Compiled steps that adapt auxiliary variables, and about the most seconds that they may take."""
TURNS, GRACE = 15, 1.0
"""Turns in which compiled steps are timed one program after another, and seconds that they are given in any case."""


class Clock:
    """Times as this machine has them.

    Attributes
    ----------
    compiling : seconds that went into compiling, which no budget counts.
    """

    def __init__(self) -> None:
        self.compiling, self._began = 0.0, time.perf_counter()
        self._prices: dict[Any, Callable[[Mapping[str, int]], float]] = {}

    def spent(self) -> float:
        """Seconds since the tuning began, those of compiling not counted."""
        return time.perf_counter() - self._began - self.compiling

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What is done meanwhile counts as compiling."""
        began = time.perf_counter()
        yield
        self.compiling += time.perf_counter() - began

    def interpret(self, contender: Contender, seconds: float, times: bool = True) -> None:
        """Set the contender's seconds to those of an interpreted step, and adapt its auxiliary variables on the way.

        Without `times` one step says about how long they take, if there is nothing to adapt.
        """
        bound = bind(contender.program, contender.call)
        own = contender.config.particles == bound.compiled.settings.particles
        variant = bound.compiled.gradient if own else bound.compiled.variant("gradient")
        nodes = [variant.scalars["loss"], *variant.grads.values(), *variant.aux.values()]
        carried = set(bound.compiled.trace.carried)
        taken: list[float] = []
        state, until = contender.call.state, time.perf_counter() + seconds
        most, least = (ADAPTED if contender.adapts else TIMED if times else 1), TIMED if times else 1
        while len(taken) < most and (len(taken) < least or time.perf_counter() < until):
            env = replace(bound, state=state).environment(variant, step=len(taken))
            began = time.perf_counter()
            found = evaluate(nodes, env)
            taken.append(time.perf_counter() - began)
            least = min(least, 2) if taken[-1] > LONG else least
            moved = dict(zip(variant.aux, found[len(found) - len(variant.aux) :], strict=True))
            state = state.replace(aux={**moved, **{name: state.aux[name] for name in carried}})
        contender.call = replace(contender.call, state=state)
        contender.pace = contender.seconds = min(taken)
        contender.clock = "interpreter"

    def price(self, contender: Contender) -> None:
        """Set the contender's seconds to what its schedule says that a step of training takes.

        Interpreted steps of small graphs take what calls of NumPy take, however large the arrays are.
        """
        with self.pause():
            key = contender.config.estimators
            if key not in self._prices:
                self._prices[key] = contender.program._price(*contender.call.data)
            rows = bind(contender.program, contender.call).data.rows
            sizes = {f"n_{name}": count for name, count in rows.items()}
            contender.seconds = self._prices[key]({**sizes, "n_particles": contender.config.particles})
            contender.clock = "priced"

    def compile(self, contenders: Sequence[Contender], seconds: float) -> None:
        """Set the contenders' seconds to those of compiled steps of training, which take turns.

        Of the turns the fastest counts: others' work on the machine only adds to a turn.
        """
        began = time.perf_counter()
        steps: list[StandingSteps] = []
        with line.during(lambda: f"tuning, choice {min(len(steps) + 1, len(contenders))} of {len(contenders)}"):
            for c in contenders:
                each = StandingSteps(c.program, c.call)
                each.take(1)
                if c.adapts and c.clock != "compiled":
                    c.settle(each.settled(SETTLED, SETTLING))
                steps.append(each)
        self.compiling += time.perf_counter() - began
        found: list[list[float]] = [[] for _ in contenders]
        until = time.perf_counter() + max(seconds, GRACE)
        while len(found[-1]) < 2 or (len(found[-1]) < TURNS and time.perf_counter() < until):
            for each, times in zip(steps, found, strict=True):
                times.append(each.seconds())
        for c, times in zip(contenders, found, strict=True):
            c.seconds, c.clock = min(times), "compiled"
