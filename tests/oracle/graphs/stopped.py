"""Hand-written graphs of `stop_gradient`: a stopped occurrence is a constant."""

from __future__ import annotations

from tests.oracle.graphs.register import X3, one, rows, single

# --- stop_gradient: a stopped occurrence is a constant ----------------------------------------------------

S = "ppl.stop_gradient"
for label, dist in {
    "normal": "ppl.Normal(t, 0.8)", "exponential": "ppl.Exponential(np.exp(t))", "bernoulli": "ppl.Bernoulli(logits=t)",
    "gumbel": "ppl.Gumbel(t, 0.8)", "categorical": "ppl.Categorical(logits=t * np.array([0.0, 1.0, -1.0]))",
    "poisson": "ppl.Poisson(np.exp(t))", "gamma": "ppl.Gamma(np.exp(t), 1.0)",
}.items():  # fmt: skip
    one(f"stops/{label} added", dist, f"np.tanh(z) + 2.0 * {S}(z)", "dict(t=0.3)")
    one(f"stops/{label} multiplied", dist, f"np.tanh(0.5 * z) * {S}(0.5 * z + 1.0)", "dict(t=0.3)")
    one(f"stops/{label} in a power", dist, f"(0.4 * z - {S}(0.3 * z) * t) ** 2", "dict(t=0.3)")
    one(f"stops/{label} alone", dist, f"{S}(z) * t", "dict(t=0.3)")
    one(f"stops/{label} in one term of three", dist, f"np.sum(np.stack([z, t * {S}(z), z ** 2]))", "dict(t=0.3)")
one("stops/parameter", "ppl.Normal(t, 0.8)", f"z ** 2 * {S}(t)", "dict(t=0.3)")
one("stops/in the distribution", f"ppl.Normal({S}(t), np.exp(0.5 * t))", "np.sin(z)", "dict(t=0.3)")
CHAIN = "t = ppl.param('t', 0.5)\nz = ppl.sample('z', {dist})\n{rest}"
single(
    "stops/through a child",
    CHAIN.format(dist="ppl.Normal(t, 0.8)", rest=f"y = ppl.sample('y', ppl.Normal(z + {S}(z), 0.5))\n"
                       "ppl.cost('c', np.sin(y))"),
    "dict(t=0.3)",
)  # fmt: skip
single(
    "stops/child stopped",
    CHAIN.format(dist="ppl.Bernoulli(logits=t)", rest="b = ppl.sample('b', ppl.Bernoulli(logits=t - z))\n"
                       f"ppl.cost('c', z + b * t + {S}(b))"),
    "dict(t=0.3)",
)  # fmt: skip
single(
    "stops/child reads a stopped parent",
    CHAIN.format(dist="ppl.Bernoulli(logits=t)", rest=f"b = ppl.sample('b', ppl.Bernoulli(logits=t - {S}(z)))\n"
                       "ppl.cost('c', (b - 0.2) ** 2)"),
    "dict(t=0.3)",
)  # fmt: skip
rows(
    "stops/rows",
    "t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t, 0.8))\nwith ppl.plate('data', x) as x:\n"
    f"    y = ppl.sample('y', ppl.Normal(z * x, 0.5))\n    ppl.cost('c', np.sin(y) * {S}(z))\n"
    f"    ppl.cost('d', np.cos(y) + {S}(y))",
    "dict(t=0.3)", X3, "6",
)  # fmt: skip
