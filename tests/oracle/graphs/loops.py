"""Random graphs with loops over time: nodes, costs and a carry in a step, costs after it, perhaps in rows of data."""

from __future__ import annotations

import random

from tests.oracle.graphs.expressions import Scope, atom, real
from tests.oracle.graphs.generate import _cost, _data, _define, _pair, _params, _scope
from tests.oracle.graphs.nodes import node, numbers

BITS = {"Bernoulli": 4.0, "Categorical": 1.0, "Simplex": 0.5, "OneHot": 0.7, "BernoulliProbs": 1.0, "Units": 0.5}
LINES = {"Normal": 4.0, "Exponential": 1.0, "Laplace": 0.7, "LogNormal": 0.7, "Gamma": 0.5, "Uniform": 0.5,
         "Mixture": 0.5, "Logistic": 0.5}  # fmt: skip
COUNTS = {"Poisson": 1.0, "Geometric": 1.0, "Binomial": 1.0}


def random_loop(seed: int) -> str:
    """The text of random graph number `seed` with a loop over time."""
    rng = random.Random(f"loop {seed}")
    return rng.choices([costs, nested, hidden], [0.6, 0.15, 0.25])[0](rng)


def _families(s: Scope, steps: int, left: int) -> dict[str, float]:
    """Laws of a node that the oracle can sum or integrate over all steps."""
    if left > 0 and steps <= left and s.chance(0.5):
        return LINES
    return COUNTS if steps == 1 and s.chance(0.2) else BITS


def _within(s: Scope, name: str, carry: list[str], steps: int) -> None:
    """The lines of a step: one or two nodes, and costs; all read mostly the carry and the nodes."""
    s.values += 2 * carry
    left = 3
    for _ in range(s.rng.choice([1, 1, 2])):
        found = _families(s, steps, left)
        left -= steps if found is LINES else 0
        node(s, found)
    for i in range(s.rng.choice([0, 1, 1, 2])):
        _cost(s, f"{name}{i}")


def _step(s: Scope, name: str, carry: list[str], steps: int, xs: str) -> None:
    """Define a step, whose carry is an array or a tuple."""
    outside = list(s.values), list(s.inputs), list(s.classes)
    s.write(f"def {name}({'carry' if len(carry) > 1 else carry[0]}, {xs}):")
    s.indent += 1
    if len(carry) > 1:
        s.write(f"{', '.join(carry)} = carry")
    s.inputs.append(f"0.4 * {xs}")
    before = len(s.values)
    _within(s, name, carry, steps)
    new = _tuple([_carried(s, s.values[before + 2 * len(carry) :]) for _ in carry])
    s.write(f"return {new}, {real(s, 1)}")
    s.indent -= 1
    s.values, s.inputs, s.classes = outside


def _tuple(values: list[str]) -> str:
    """One value, or a tuple of several."""
    return f"({', '.join(values)})" if len(values) > 1 else values[0]


def _carried(s: Scope, own: list[str]) -> str:
    """What a carry becomes: mostly a function of a node of the step."""
    kind = s.rng.choice(["{0}", "0.5 * {1} + {0}", "np.tanh({1} + {0})", "{1} - 0.3"])
    first = s.rng.choice(own) if own and s.chance(0.8) else atom(s)
    return f"1.0 * ({kind.format(first, atom(s))})"


def _loop(s: Scope, name: str, steps: int, carry: list[str], given: str) -> None:
    """Run a step that is called `name`; its results join the scope."""
    start = [s.rng.choice([s.number(-1.0, 1.0), f"1.0 * {atom(s)}"]) for _ in carry]
    turned = ", reverse=True" if s.chance(0.3) else ""
    until = f", until=lambda c: {'c[0]' if len(carry) > 1 else 'c'} > {s.number(0.2, 1.5)}" if s.chance(0.15) else ""
    ends = [f"{c}_end" for c in carry]
    s.write(f"{_tuple(ends)}, {name}_ys = ppl.scan({name}, {_tuple(start)}, {given}, name={name!r}{turned}{until})")
    s.values += [*ends, f"np.sum({name}_ys)", f"{name}_ys[{steps - 1}]"]


def _given(s: Scope, steps: int) -> str:
    """Slices of a step: constants, a parameter, or its number."""
    return s.rng.choice([f"length={steps}", numbers(s, steps), s.array(steps), f"{numbers(s, steps)} * {atom(s)}"])


def costs(rng: random.Random) -> str:
    """A loop with a node before or after it, alone, in rows of data, or after another loop over its results."""
    s, steps = _scope(rng), rng.choice([1, 2, 2, 3])
    rows = rng.random() < 0.4
    if rng.random() < 0.3:
        node(s, BITS)
    if rows:
        s.write("with ppl.plate('data', x) as x:")
        s.indent, s.inputs = 2, ["x"]
    carry = ["c"] if s.chance(0.6) else ["c", "d"]
    _step(s, "step", carry, steps, "t")
    _loop(s, "step", steps, carry, _given(s, steps))
    if s.chance(0.2):
        _step(s, "after", ["e"], steps, "u")
        _loop(s, "after", steps, ["e"], "step_ys")
    elif s.chance(0.25):
        node(s, BITS)
    _cost(s, "last")
    if not rows:
        return _define("model", "", s) + f"objective = model\n{_params(s)}"
    return _define("model", "x", s) + f"objective = model\n{_params(s)}{_data(rng, False)}"


def nested(rng: random.Random) -> str:
    """A loop in a loop."""
    s = _scope(rng)
    steps, inside = rng.choice([(1, 2), (2, 1), (2, 2)])
    outside = list(s.values)
    s.write("def outer(c, s):")
    s.indent = 2
    s.values, s.inputs = ["c"], ["0.4 * s"]
    if s.chance(0.5):
        node(s, BITS)
    _step(s, "inner", ["e"], 2 * steps, "t")
    _loop(s, "inner", inside, ["e"], _given(s, inside))
    if s.chance(0.5):
        _cost(s, "outside")
    s.write(f"return {_carried(s, s.values[1:])}, {real(s, 1)}")
    s.indent, s.values, s.inputs, s.classes = 1, outside, [], []
    _loop(s, "outer", steps, ["c"], f"length={steps}")
    _cost(s, "last")
    return _define("model", "", s) + f"objective = model\n{_params(s)}"


def hidden(rng: random.Random) -> str:
    """An ELBO, a bound of two samples or a likelihood of sequences with a hidden node in every step."""
    kind = rng.choice(["elbo", "elbo", "iwae", "likelihood"])
    steps = 2 if kind != "iwae" else rng.choice([1, 2])
    latent = rng.choice(["bit", "bit", "line"]) if kind != "iwae" else "bit"
    model, guide = _pair_of_steps(rng, latent)
    turned = ", reverse=True" if rng.random() < 0.3 else ""
    mask = rng.choice(["", "", ", obs_mask=xt > -1.0"])
    observed = f"ppl.sample('x', ppl.Normal({real(model, 1)}, 0.8), obs=xt{mask})"
    for s, last, turn in ((model, observed, ""), (guide, "", turned)):
        if last:
            s.write(last)
        s.write("return 1.0 * z, None")
        s.indent -= 1
        slices = f"x * {numbers(s, steps)}" if s is model else f"x * {s.array(steps)}"
        s.write(f"ppl.scan(step, {s.number(-1, 1)}, {slices}{turn})")
    data = _data(rng, False)
    text = _define("model", "x", model)
    if kind == "likelihood":
        return f"{text}objective = ppl.likelihood(model)\n{_params(model)}{data}"
    text += _define("guide", "x", guide)
    how = "ppl.elbo(model, guide, kl={!r})".format(rng.choice(["auto", "sampled"]))
    how = how if kind == "elbo" else "ppl.iwae(model, guide, particles=2)"
    return f"{text}objective = {how}\n{_params(model, guide)}{data}"


def _pair_of_steps(rng: random.Random, latent: str) -> tuple[Scope, Scope]:
    """The first lines of a model and of a guide, whose steps share a latent."""
    made = _pair(rng, 0, [], smooth=True)
    for s in made:
        s.lines = ["    with ppl.plate('data', x) as x:", "        def step(c, xt):"]
        s.indent, s.values, s.inputs = 3, ["c"], ["xt"] if s is made[1] else []
        law = f"ppl.Bernoulli(logits={real(s, 1)})" if latent == "bit" else f"ppl.Normal({real(s, 1)}, 0.7)"
        s.write(f"z = ppl.sample('z', {law})")
        s.values.append("z")
    return made
