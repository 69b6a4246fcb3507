"""Random expressions over what a model has declared so far: parameters, data, values of nodes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

FLAVOURS = {
    "smooth": (1.0, 0.0, 0.0, 0.0, 0.0),
    "kinks": (0.7, 0.3, 0.0, 0.0, 0.0),
    "jumps": (0.6, 0.1, 0.3, 0.0, 0.0),
    "poles": (0.6, 0.0, 0.05, 0.35, 0.0),
    "stops": (0.7, 0.05, 0.0, 0.0, 0.25),
    "mixed": (0.6, 0.1, 0.1, 0.1, 0.1),
}  # weights of smooth, kinked, jumping, singular and stopped expressions


@dataclass(eq=False)
class Scope:
    """What expressions may read, and the lines written so far.

    `values` are real expressions of random nodes, `inputs` those of data, `params` the scalar parameters' names with
    their starts; `classes` are integer nodes with their number of values.
    """

    rng: random.Random
    flavour: str
    values: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    classes: list[tuple[str, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    declared: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    nodes: int = 0
    prefix: str = "p"

    def write(self, line: str) -> None:
        """Add a line at the present indentation."""
        self.lines.append("    " * self.indent + line)

    def number(self, low: float, high: float) -> str:
        """A constant of one or two digits."""
        return str(round(self.rng.uniform(low, high), 1))

    def start(self) -> str:
        """Where a parameter is; to three digits, so that no kink at a round number is met."""
        return str(round(self.rng.uniform(-0.8, 0.8), 3))

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.rng.random() < p

    def param(self, kind: str = "real") -> str:
        """A scalar parameter of the kind "real", "positive" or "unit_interval": one already there, or a new one."""
        known = [k for k, v in self.params.items() if v.startswith(kind)]
        if known and self.chance(0.45):
            return self.rng.choice(known)
        name = self._fresh()
        self.params[name] = f"{kind} {self.start()}"
        constraint = "" if kind == "real" else f", constraint={kind!r}"
        self.declared.append(f"{name} = ppl.param({name!r}, {0.5}{constraint})")
        return name

    def _fresh(self) -> str:
        return f"{self.prefix}{len(self.params)}"

    def edge(self) -> str:
        """A parameter that starts at 0 or 1."""
        name = self._fresh()
        self.params[name] = f"edge {self.rng.choice(['0.0', '1.0'])}"
        self.declared.append(f"{name} = ppl.param({name!r}, 0.5)")
        return name

    def array(self, size: int, kind: str = "real") -> str:
        """A vector parameter."""
        name = self._fresh()
        start = ", ".join(self.start() for _ in range(size))
        self.params[name] = f"array {kind} [{start}]"
        init = f"np.full({size}, {1 / size})" if kind != "real" else f"np.zeros({size})"
        constraint = "" if kind == "real" else f", constraint={kind!r}"
        self.declared.append(f"{name} = ppl.param({name!r}, {init}{constraint})")
        return name


def atom(s: Scope, params: bool = True) -> str:
    """A node's value if there is one, else data, a parameter or a number."""
    pool = [(v, 4.0) for v in s.values] + [(v, 2.0) for v in s.inputs]
    if s.classes:
        pool.append(("table", 2.0))
    if params:
        pool.append(("param", 1.5))
    if not pool:
        return s.number(-1.0, 1.0)
    found = s.rng.choices([p[0] for p in pool], [p[1] for p in pool])[0]
    if found == "param":
        return s.param()
    if found == "table":
        return table(s)
    return found


def table(s: Scope) -> str:
    """An entry of a table of numbers, or of a learned one, at a random integer."""
    name, size = s.rng.choice(s.classes)
    if s.chance(0.4):
        return f"{s.array(size)}[{name}]"
    numbers = ", ".join(s.number(-1.5, 1.5) for _ in range(size))
    return f"ppl.constant(np.array([{numbers}]))[{name}]"


def real(s: Scope, depth: int = 2, params: bool = True) -> str:
    """A real expression of the scope's flavour; bounded where that is easy, so that estimates have moments."""
    if depth <= 0:
        return atom(s, params)
    kinds = (smooth, kinked, jumping, singular, stopped)
    return s.rng.choices(kinds, FLAVOURS[s.flavour])[0](s, depth, params)


def smooth(s: Scope, depth: int, params: bool) -> str:
    """Sums, products and bounded functions."""
    a, b = real(s, depth - 1, params), real(s, depth - 2, params)
    return s.rng.choice([
        f"np.tanh({a})", f"np.sin({a} + {s.number(-1, 1)})", f"({a} + {s.number(-1.5, 1.5)} * {b})",
        f"np.tanh({a}) * np.cos({b})", f"ppl.sigmoid({s.number(0.5, 2)} * {a})", f"(np.tanh({a}) - {b}) ** 2 * 0.3",
        f"ppl.softplus({a})", f"np.exp(-0.5 * ({a}) ** 2)", f"np.tanh({a}) * {b}", f"({a}) * {s.number(-1.5, 1.5)}",
        f"np.arctan({a})", f"np.logaddexp({a}, {b})", f"1.0 / (1.5 + ({a}) ** 2)", f"np.log(1.2 + ({a}) ** 2)",
        f"ppl.Normal({s.number(-1, 1)}, 1.5).log_prob({a}) * 0.3",
        f"np.dot(ppl.softmax(np.stack([{a}, {b}, 0.2])), np.array([1.0, -0.5, 0.3]))",
        f"ppl.hyper('h', 0.7) * np.cos({a})",
    ])  # fmt: skip


def kinked(s: Scope, depth: int, params: bool) -> str:
    """Kinks."""
    a, b = real(s, depth - 1, params), real(s, depth - 2, params)
    return s.rng.choice([
        f"np.abs(np.tanh({a}) - {s.number(-0.5, 0.5)})", f"np.maximum(np.tanh({a}), {s.number(-0.5, 0.5)})",
        f"np.minimum(np.sin({a}), 0.4 * {b})", f"np.clip({a}, -0.8, 0.9)",
        f"np.sqrt(({a}) ** 2)", f"np.amax(np.stack([np.sin({a}), np.tanh({b}), 0.1]))",
        f"np.where({a} > 0.2, ({a} - 0.2) * 0.5, 0.0)",
    ])  # fmt: skip


def jumping(s: Scope, depth: int, params: bool) -> str:
    """Jumps in values of nodes (parameters directly inside are mostly left out: their derivative would be lost)."""
    a, b = real(s, depth - 1, params and s.chance(0.15)), real(s, depth - 2, params)
    return s.rng.choice([
        f"np.where({a} > {s.number(-0.4, 0.6)}, {b}, {s.number(-1, 1)})", f"np.sign({a} - {s.number(-0.4, 0.4)})",
        f"np.floor(2.0 * np.tanh({a}))", f"np.mod({a}, 1.3)",
        f"np.argmax(np.stack([np.sin({a}), 0.3 * {b}])) * 0.7",
        f"np.where(np.tanh({a}) < 0.1, np.cos({b}), 0.2)",
        f"ppl.constant(np.array([0.3, -0.8, 1.1]))[np.floor(1.5 + 1.4 * np.tanh({a})).astype(int)]",
    ])  # fmt: skip


def singular(s: Scope, depth: int, params: bool) -> str:
    """Poles under bounded functions."""
    a, b = real(s, depth - 1, params and s.chance(0.15)), real(s, depth - 2, params and s.chance(0.15))
    return s.rng.choice([
        f"np.tanh({s.number(0.3, 1)} / ({a} - {s.number(-0.4, 0.4)}5))", f"({a}) / np.abs({a})",
        f"np.arctan({b} / ({a} + 0.05))", f"np.tanh(np.tan({a}))", f"ppl.sigmoid(({a} - 0.15) ** -1)",
        f"np.tanh(({a} - 0.15) ** -3)", f"np.cos({a}) / np.sqrt(np.cos({a}) ** 2)",
        f"np.exp(-1 / ({a} - 0.15) ** 2)", f"np.tanh(1 / ppl.softplus({a}))",
    ])  # fmt: skip


def stopped(s: Scope, depth: int, params: bool) -> str:
    """Something behind `stop_gradient`, added or multiplied."""
    a, b = real(s, depth - 1, params), real(s, depth - 2, params)
    return s.rng.choice([
        f"({a} + ppl.stop_gradient({b}))", f"np.tanh({a}) * ppl.stop_gradient({b})", f"ppl.stop_gradient({a})",
        f"({a} - 0.5 * ppl.stop_gradient({a})) ** 2 * 0.3",
    ])  # fmt: skip
