"""Hand-written graphs of sums over plates, and of probabilities at the ends of their interval."""

from __future__ import annotations

from tests.oracle.graphs.register import X3, one, rows, single

# --- sums over plates of costs that depend on an enumerated node but on no data ---------------------------

NESTED = "np.array([[0.5, -1.0], [1.2, 0.3], [-0.7, 0.9]])"
GLOBAL = "t = ppl.param('t', 0.5)\nb = ppl.sample('b', {dist})\nwith ppl.plate('data', x) as x:\n    {body}"

B, C = "ppl.Bernoulli(logits=t)", "ppl.Categorical(logits=t * np.array([0.0, 1.0, -1.0]))"
ONE_HOT = "ppl.OneHotCategorical(logits=t * np.array([0.0, 1.0, -1.0]))"
for label, dist, body, total in (
    ("bernoulli", B, "ppl.cost('c', b)", "None"),
    ("bernoulli scaled", B, "ppl.cost('c', (b - 0.3) ** 2)", "12"),
    ("categorical table", C, "ppl.cost('c', ppl.constant([0.4, 1.0, -0.7])[b])", "9"),
    ("one-hot", ONE_HOT, "ppl.cost('c', np.sum(b * np.array([0.4, 1.0, -0.7])) ** 2)", "None"),
    ("two costs", B, "ppl.cost('c', b * t)\n    ppl.cost('d', (b - x) ** 2)", "6"),
    (
        "row node and global cost",
        B,
        "z = ppl.sample('z', ppl.Normal(t * x, 1.0))\n    ppl.cost('c', b)\n    ppl.cost('d', z * b)",
        "6",
    ),
):
    rows(f"plates/{label}", GLOBAL.format(dist=dist, body=body), "dict(t=0.5)", X3, total)
rows(
    "plates/nested",
    "t = ppl.param('t', 0.5)\nwith ppl.plate('data', x) as x:\n    b = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
    "    with ppl.plate('inner', x) as v:\n        ppl.cost('c', (b - 0.2) ** 2)",
    "dict(t=0.5)", NESTED, "6",
)  # fmt: skip
rows(
    "plates/nested from outside",
    "t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(logits=t))\nwith ppl.plate('data', x) as x:\n"
    "    with ppl.plate('inner', x) as v:\n        ppl.cost('c', (b - t) ** 2)",
    "dict(t=0.5)", NESTED, "6",
)  # fmt: skip
single(
    "plates/fixed",
    "t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
          "with ppl.plate('k', 4):\n    ppl.cost('c', (b - 0.2) ** 2)",
    "dict(t=0.5)",
)  # fmt: skip
rows(
    "plates/child in rows",
    "t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
    "c = ppl.sample('c', ppl.Bernoulli(logits=b - t))\nwith ppl.plate('data', x) as x:\n"
    "    ppl.cost('d', b * c)\n    ppl.cost('e', c * x)",
    "dict(t=0.5)", X3, "6",
)  # fmt: skip
rows(
    "plates/row node without data",
    "t = ppl.param('t', 0.5)\nwith ppl.plate('data', x) as x:\n    b = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
    "    ppl.cost('c', (b - 0.2) ** 2)",
    "dict(t=0.5)", X3, "6",
)  # fmt: skip

INSIDE = "t = ppl.param('t', 0.5)\nwith ppl.plate('data', x) as x:\n    b = ppl.sample('b', {dist})\n    {body}"
for label, dist, body in (
    ("its own value", B, "ppl.cost('c', b)"),
    ("a function of it", B, "ppl.cost('c', np.exp(b) * b)"),
    ("a class", C, "ppl.cost('c', b * b)"),
    ("a count", "ppl.Binomial(3, logits=t)", "ppl.cost('c', np.sin(b))"),
    ("one-hot", ONE_HOT, "ppl.cost('c', b[0] * b[0] + b[2])"),
    ("units", "ppl.Bernoulli(logits=t * np.ones(3))", "ppl.cost('c', np.sum(b) ** 2)"),
    ("a child", B, "c = ppl.sample('c', ppl.Bernoulli(logits=b))\n    ppl.cost('d', c)"),
    (
        "a normal child",
        B,
        "z = ppl.sample('z', ppl.Normal(b, 0.5))\n    ppl.cost('c', np.tanh(z))\n    ppl.cost('d', b)",
    ),
    ("beside data", B, "ppl.cost('c', b)\n    ppl.cost('d', b * x)"),
):
    rows(f"plates/inside, {label}", INSIDE.format(dist=dist, body=body), "dict(t=0.5)", X3)
    rows(f"plates/inside scaled, {label}", INSIDE.format(dist=dist, body=body), "dict(t=0.5)", X3, "12")
rows(
    "plates/inside two plates",
    "t = ppl.param('t', 0.5)\nwith ppl.plate('data', x) as x:\n    with ppl.plate('inner', x) as v:\n"
    "        b = ppl.sample('b', ppl.Bernoulli(logits=t))\n        ppl.cost('c', b)",
    "dict(t=0.5)", NESTED, "6",
)  # fmt: skip
single(
    "plates/inside a fixed plate",
    "t = ppl.param('t', 0.5)\nwith ppl.plate('k', 4):\n    b = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
          "    ppl.cost('c', b)",
    "dict(t=0.5)",
)  # fmt: skip

# --- probabilities of 0 and 1 -----------------------------------------------------------------------------

for p in ("0.0", "1.0"):
    one(f"edges/bernoulli {p}", "ppl.Bernoulli(t)", "(z - 0.3) ** 2", f"dict(t={p})")
    rows(
        f"edges/bernoulli rows {p}",
        "t = ppl.param('t', 0.5)\nwith ppl.plate('data', x) as x:\n    b = ppl.sample('b', ppl.Bernoulli(t))\n"
        "    ppl.cost('c', (b - x) ** 2)",
        f"dict(t={p})", X3, "6",
    )  # fmt: skip
CLASSES = "t = ppl.param('t', np.array([0.2, 0.3, 0.5]))\nz = ppl.sample('z', {dist})\nppl.cost('c', {cost})"
for label, dist, cost in (
    ("categorical", "ppl.Categorical(t)", "ppl.constant([0.3, -0.5, 2.0])[z]"),
    ("one-hot", "ppl.OneHotCategorical(t)", "np.sum(z * np.array([0.3, -0.5, 2.0])) ** 2"),
):
    single(
        f"edges/{label}",
        CLASSES.format(dist=dist, cost=cost),
        "dict(t=[0.4, 0.6, 0.0])",
    )
single(
    "edges/child of an unreachable state",
    "t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(t))\n"
          "c = ppl.sample('c', ppl.Bernoulli(0.3 + 0.4 * b))\nppl.cost('d', (c - 0.2) ** 2 + b)",
    "dict(t=1.0)",
)  # fmt: skip
single(
    "edges/invalid scale in an unreachable state",
    "t = ppl.param('t', 0.5)\nm = ppl.param('m', 0.0)\nb = ppl.sample('b', ppl.Bernoulli(t))\n"
          "z = ppl.sample('z', ppl.Normal(m, b))\nppl.cost('d', z ** 2 + b)",
    "dict(t=1.0, m=0.4)",
)  # fmt: skip
