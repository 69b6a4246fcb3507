"""Hand-written graphs of mixtures, of truncated laws in their tails, and of layers with many rows."""

from __future__ import annotations

from tests.oracle.graphs.register import X3, add, model, one, rows

# --- mixtures ------------------------------------------------------------------------------------------------

MIX = "ppl.Mixture(logits={logits}, components={components})"
TWO = "t * np.array([1.0, -1.0])"
one(
    "mixtures/separated",
    MIX.format(logits=TWO, components="ppl.Normal(np.array([-4.0, 4.0]), 0.5)"),
    "np.tanh(z) + 0.1 * z", "dict(t=0.3)",
)  # fmt: skip
one(
    "mixtures/overlapping",
    MIX.format(logits=TWO, components="ppl.Normal(np.array([-0.5, 0.7]) * s, 0.8)"), "np.sin(z)", "dict(t=0.3, s=1.2)",
)  # fmt: skip
one(
    "mixtures/listed",
    MIX.format(logits=TWO, components="[ppl.Normal(s, 0.5), ppl.Laplace(3.0, 0.4)]"),
    "np.tanh(z)", "dict(t=0.3, s=-2.0)",
)  # fmt: skip
one(
    "mixtures/gammas",
    MIX.format(logits=TWO, components="ppl.Gamma(np.array([2.0, 40.0]), np.exp(s))"), "np.tanh(0.2 * z)",
    "dict(t=0.3, s=0.2)",
)  # fmt: skip
one(
    "mixtures/three far apart",
    MIX.format(logits="t * np.array([1.0, 0.0, -1.0])", components="ppl.Normal(np.array([-9.0, 0.0, 9.0]), np.exp(s))"),
    "np.sin(0.3 * z) + 0.05 * z ** 2", "dict(t=0.3, s=-1.5)",
)  # fmt: skip
one(
    "mixtures/jump",
    MIX.format(logits=TWO, components="ppl.Normal(np.array([-2.0, 2.0]), 0.5)"), "np.where(z > 0.5, 1.0, 0.0)",
    "dict(t=0.3)",
)  # fmt: skip
one(
    "mixtures/counts",
    MIX.format(logits=TWO, components="ppl.Poisson(np.array([1.0, 6.0]))"), "np.tanh(0.3 * z)", "dict(t=0.3)",
)  # fmt: skip
rows(
    "mixtures/rows",
    "t = ppl.param('t', 0.5)\nwith ppl.plate('data', x) as x:\n"
    "    z = ppl.sample('z', ppl.Mixture(logits=t * np.array([1.0, -1.0]), "
    "components=ppl.Normal(np.array([-3.0, 3.0]), 0.6)))\n    ppl.cost('c', np.tanh(z - x))",
    "dict(t=0.3)", X3, "6",
)  # fmt: skip

# --- tails ---------------------------------------------------------------------------------------------------

one("tails/normal at 3", "ppl.Truncated(ppl.Normal(t, 1.0), low=3.0)", "np.tanh(z - 3.0)", "dict(t=0.3)")
one("tails/normal at 9", "ppl.Truncated(ppl.Normal(t, 1.0), low=9.0)", "10 * (z - 9.0)", "dict(t=0.3)")
one("tails/normal below", "ppl.Truncated(ppl.Normal(t, 1.0), high=-9.0)", "10 * (z + 9.0)", "dict(t=0.3)")
one("tails/truncated normal at 9", "ppl.TruncatedNormal(t, 1.0, 9.0, 11.0)", "10 * (z - 9.0)", "dict(t=0.3)")
one("tails/laplace", "ppl.Truncated(ppl.Laplace(t, 1.0), low=30.0, high=31.0)", "z - 30.0", "dict(t=0.3)")
one("tails/logistic", "ppl.Truncated(ppl.Logistic(t, 1.0), low=40.0)", "np.tanh(0.5 * (z - 40.0))", "dict(t=0.3)")
one("tails/gumbel", "ppl.Truncated(ppl.Gumbel(t, 1.0), low=1.0, high=2.5)", "np.sin(z)", "dict(t=0.3)")
one("tails/poisson", "ppl.Truncated(ppl.Poisson(np.exp(t)), high=3)", "np.tanh(z)", "dict(t=0.3)")
one("tails/poisson above", "ppl.Truncated(ppl.Poisson(np.exp(t)), low=2)", "np.tanh(0.5 * z)", "dict(t=0.3)")
OBSERVED = (
    "@ppl.model\ndef model():\n    t = ppl.param('t', 0.5)\n    ppl.sample('z', {dist}, obs={obs})\n"
    "objective = ppl.likelihood(model)\nparams = {params}"
)
for label, dist, obs, params in (
    ("poisson 12", "ppl.Truncated(ppl.Poisson(np.exp(t)), low=12)", "13", "dict(t=0.4)"),
    ("poisson 20", "ppl.Truncated(ppl.Poisson(np.exp(t)), low=20)", "20", "dict(t=0.4)"),
    ("geometric", "ppl.Truncated(ppl.Geometric(logits=t), low=30)", "31", "dict(t=0.4)"),
    ("normal 9", "ppl.Truncated(ppl.Normal(t, 1.0), low=9.0)", "9.3", "dict(t=0.4)"),
    ("normal 20", "ppl.Truncated(ppl.Normal(t, 1.0), low=20.0)", "20.1", "dict(t=0.4)"),
    ("truncated normal", "ppl.TruncatedNormal(t, 1.0, 9.0, 20.0)", "9.3", "dict(t=0.4)"),
    ("exponential", "ppl.Truncated(ppl.Exponential(np.exp(t)), low=40.0)", "41.0", "dict(t=0.4)"),
    ("gamma", "ppl.Truncated(ppl.Gamma(2.0, np.exp(t)), low=40.0)", "41.0", "dict(t=0.4)"),
):
    add(f"tails/observed {label}", OBSERVED.format(dist=dist, obs=obs, params=params))

# --- layers of few units, several rows in a tile -----------------------------------------------------------

for layer in (1, 6, 8):
    add(
        f"layers/{layer} units, 37 rows",
        model(f"w = ppl.param('w', np.zeros((2, {layer})))\nwith ppl.plate('data', x) as x:\n"
              f"    b = ppl.sample('b', ppl.Bernoulli(logits=x @ w))\n"
              f"    ppl.cost('c', (np.sum(b * np.linspace(-1, 1, {layer})) - x[0]) ** 2)", "x")
        + f"params = dict(w=0.3 * np.cos(np.arange({2 * layer})).reshape(2, {layer}))\n"
        "data = (np.round(np.sin(np.arange(74.0)).reshape(37, 2), 1),)",
    )  # fmt: skip
