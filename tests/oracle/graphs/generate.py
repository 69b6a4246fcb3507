"""Random graphs: from a seed the source text of a small model with its parameters and data.

One to four nodes at any depth of plates, costs of any of them at any depth, tied and constrained parameters, minibatch
scaling; expected costs, ELBOs, bounds of several samples and likelihoods.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.oracle.graphs.expressions import FLAVOURS, Scope, atom, real
from tests.oracle.graphs.nodes import location, node, positive

ROWS = (1, 7, 37, 257)
POINTS = "np.array([0.73, -1.14, 0.42, 1.31, -0.27])"
MIXED = "ppl.Mixture(logits=np.array([0.3, -0.2]), components=ppl.Normal({} * np.array([1.0, -1.0]), 0.8))"
PAIRS = "np.array([[0.5, -1.0], [1.2, 0.3], [-0.7, 0.9], [0.1, 0.6], [-0.4, -0.2]])"
FINITE_COST = {"Bernoulli": 3.0, "Categorical": 2.0, "OneHot": 1.0, "Units": 1.0}


def random_graph(seed: int) -> str:
    """The text of random graph number `seed`."""
    rng = random.Random(f"graph {seed}")
    kind = rng.choices([costs, elbo, likelihood, iwae], [0.68, 0.15, 0.1, 0.07])[0]
    return kind(rng)


def _scope(rng: random.Random) -> Scope:
    return Scope(rng, rng.choices(list(FLAVOURS), [4, 1.5, 1.5, 1.5, 1.2, 1.5])[0])


def _params(*scopes: Scope) -> str:
    """The line that sets unconstrained parameters."""
    found = {}
    for s in scopes:
        for name, what in s.params.items():
            found[name] = what.split(" ", 2)[2] if what.startswith("array") else what.split(" ")[1]
    return "params = dict(" + ", ".join(f"{k}={v}" for k, v in found.items()) + ")\n"


def _data(rng: random.Random, nested: bool) -> str:
    rows = rng.choice(ROWS)
    total = rng.choice(["None", str(2 * rows), str(rows + 5)])
    return (
        f"data = (np.resize({PAIRS if nested else POINTS}, {(rows, 2) if nested else rows}),)\ntotal_rows = {total}\n"
    )


def _define(name: str, argument: str, s: Scope) -> str:
    body = "".join(f"    {line}\n" for line in s.declared) + "".join(f"{line}\n" for line in s.lines)
    return f"@ppl.model\ndef {name}({argument}):\n{body}"


def _declare(s: Scope, most: int) -> None:
    """Some nodes, and perhaps a cost of them."""
    for _ in range(most):
        node(s)


def _cost(s: Scope, name: str) -> None:
    """A cost; one in five is a function of a node and of nothing else."""
    if s.values and s.chance(0.2):
        value = s.rng.choice(s.values)
        s.write(f"ppl.cost({name!r}, {s.rng.choice(['{}', '{0} * {0}', 'np.tanh({})', 'np.cos({})']).format(value)})")
        return
    s.write(f"ppl.cost({name!r}, {real(s, s.rng.choice([1, 2, 2, 3]))})")


def costs(rng: random.Random) -> str:
    """An expected cost, with nodes and costs at the top, in rows, and in a plate inside of them."""
    s, shape = _scope(rng), rng.choice(["plain", "plain", "rows", "rows", "rows", "nested", "collect", "sized"])
    total = rng.choices([1, 2, 3, 4], [4, 4, 2, 1])[0]
    if shape == "plain":
        _declare(s, total)
        for i in range(rng.choice([1, 1, 2])):
            _cost(s, f"c{i}")
        return _define("model", "", s) + f"objective = model\n{_params(s)}"
    if shape == "collect":
        return _collected(s, total)
    if shape == "sized":
        return _sized(s, total)
    above = rng.randint(0, total)
    _declare(s, above)
    if above and s.chance(0.3):
        _cost(s, "top")
    s.write("with ppl.plate('data', x) as x:")
    s.indent += 1
    s.inputs += ["x"] if shape == "rows" else ["x[0]", "x[1]"]
    if shape == "rows":
        _inside(s, total - above)
    else:
        _nested(s, total - above)
    return _define("model", "x", s) + f"objective = model\n{_params(s)}{_data(rng, shape == 'nested')}"


def _inside(s: Scope, count: int) -> None:
    """Nodes and costs of a row; some costs read no data."""
    _declare(s, count)
    for i in range(s.rng.choice([1, 1, 2])):
        hidden = list(s.inputs) if s.chance(0.35) else []
        s.inputs = [v for v in s.inputs if v not in hidden]
        _cost(s, f"row{i}")
        s.inputs += hidden


def _nested(s: Scope, count: int) -> None:
    between = s.rng.randint(0, count)
    _declare(s, between)
    if s.chance(0.4):
        _cost(s, "between")
    s.write("with ppl.plate('inner', x) as v:")
    s.indent += 1
    s.inputs.append("v")
    _inside(s, count - between)


def _collected(s: Scope, total: int) -> str:
    """A fixed plate whose rows a cost outside couples."""
    _declare(s, min(total - 1, 1))
    outside, kept = list(s.values), list(s.classes)
    rows = s.rng.choice([2, 3])
    s.write(f"with ppl.plate('k', np.array([0.3, -0.4, 0.8])[:{rows}]) as o:")
    s.indent, s.inputs = 2, ["o"]
    before = s.nodes
    node(s, {"Bernoulli": 3.0, "Normal": 1.0})
    if s.chance(0.5):
        _cost(s, "own")
    s.indent, s.inputs = 1, []
    s.values, s.classes = [*outside, f"np.sum(ppl.collect(z{before}, 'k'))", f"ppl.collect(z{before}, 'k')[0]"], kept
    _cost(s, "loss")
    return _define("model", "", s) + f"objective = model\n{_params(s)}"


def _sized(s: Scope, total: int) -> str:
    """A plate of a fixed number of rows, whose index reads a learned table."""
    above, rows = s.rng.randint(0, total), s.rng.choice([1, 3, 5])
    _declare(s, above)
    s.write(f"with ppl.plate('k', {rows}) as i:")
    s.indent, s.inputs = 2, [f"{s.array(rows)}[i]"]
    _inside(s, total - above)
    return _define("model", "", s) + f"objective = model\n{_params(s)}"


# --- objectives with observations -------------------------------------------------------------------------


def _observe(s: Scope) -> str:
    """The distribution of an observation of a real x."""
    return s.rng.choice([
        lambda: f"ppl.Normal({location(s)} + {atom(s)}, {positive(s)})",
        lambda: f"ppl.Laplace({atom(s)}, {positive(s)})",
        lambda: f"ppl.StudentT(4.0, {real(s, 1)}, {positive(s)})",
        lambda: MIXED.format(atom(s)),
    ])()  # fmt: skip


Made = Callable[[Scope], str]
LATENTS: dict[str, tuple[Made, Made, str]] = {
    "bit": (lambda s: f"ppl.Bernoulli(logits={location(s)})", lambda s: f"ppl.Bernoulli(logits={location(s)})", "{}"),
    "line": (
        lambda s: f"ppl.Normal({location(s)}, {positive(s)})",
        lambda s: f"ppl.Normal({location(s)}, {positive(s)})",
        "{}",
    ),
    "class": (
        lambda s: f"ppl.Categorical(logits={s.array(3)})",
        lambda s: f"ppl.Categorical(logits={s.array(3)} + x)",
        "ppl.constant(np.array([-0.6, 0.3, 1.1]))[{}]",
    ),
    "positive": (
        lambda s: f"ppl.LogNormal({location(s)}, 0.8)",
        lambda s: f"ppl.LogNormal({location(s)}, 0.5)",
        "{}",
    ),
    "gamma": (
        lambda s: f"ppl.Gamma({positive(s, 0.8, 2)}, 1.0)",
        lambda s: f"ppl.Gamma({positive(s, 1, 3)}, {positive(s)})",
        "{}",
    ),
}


def _pair(rng: random.Random, count: int, kinds: list[str], smooth: bool) -> tuple[Scope, Scope]:
    """A model and a guide that share latents, in rows of data."""
    model, guide = _scope(rng), _scope(rng)
    if smooth:
        model.flavour = guide.flavour = "smooth"
    for s, place in ((model, 0), (guide, 1)):
        s.prefix = "g" if place else "m"
        s.write("with ppl.plate('data', x) as x:")
        s.indent, s.inputs = 2, ["x"] if place else []
    for i in range(count):
        prior, posterior, text = LATENTS[kinds[i]]
        for s, dist in ((model, prior), (guide, posterior)):
            s.write(f"z{i} = ppl.sample('z{i}', {dist(s)})")
            s.values.append(text.format(f"z{i}"))
    model.write(f"ppl.sample('x', {_observe(model)}, obs=x)")
    return model, guide


def elbo(rng: random.Random) -> str:
    """A negative ELBO of one or two latents."""
    count = rng.choice([1, 1, 2])
    kinds = [rng.choices(list(LATENTS), [3, 3, 2, 1, 0.5])[0] for _ in range(count)]
    model, guide = _pair(rng, count, kinds, smooth=rng.random() < 0.6)
    kl = rng.choice(["auto", "sampled"])
    text = _define("model", "x", model) + _define("guide", "x", guide)
    return text + f"objective = ppl.elbo(model, guide, kl={kl!r})\n{_params(model, guide)}{_data(rng, False)}"


def iwae(rng: random.Random) -> str:
    """A bound of two samples, or of three of a bit."""
    kind = rng.choice(["bit", "class", "line"])
    model, guide = _pair(rng, 1, [kind], smooth=True)
    samples = 3 if kind == "bit" and rng.random() < 0.5 else 2
    text = _define("model", "x", model) + _define("guide", "x", guide)
    return text + f"objective = ppl.iwae(model, guide, particles={samples})\n{_params(model, guide)}{_data(rng, False)}"


def likelihood(rng: random.Random) -> str:
    """An expected negative log-likelihood, with a finite node in every row that is summed out, or none."""
    s = _scope(rng)
    _declare(s, rng.choice([0, 1]))
    s.write("with ppl.plate('data', x) as x:")
    s.indent = 2
    if s.chance(0.5):
        node(s)
    summed = ""
    if s.chance(0.7):
        summed = node(s, FINITE_COST)
    if summed and s.chance(0.25):
        second = node(s, {"Bernoulli": 1.0})
        mask = ", obs_mask=x > -1.0" if s.chance(0.4) else ""
        s.write(f"ppl.sample('y', ppl.Normal({s.values[-1]} + {s.param()}, 0.9), obs=x{mask})")
        summed = f"{summed}', '{second}"
    mask = ", obs_mask=x < 1.0" if s.chance(0.2) else ""
    s.write(f"ppl.sample('x', {_observe(s)}, obs=x{mask})")
    if s.chance(0.15):
        s.write(f"ppl.factor('f', -0.3 * ({s.param()} - 0.2) ** 2 + 0.1 * x)")
    marginal = f", marginalize=['{summed}']" if summed else ""
    return _define("model", "x", s) + f"objective = ppl.likelihood(model{marginal})\n{_params(s)}{_data(rng, False)}"
