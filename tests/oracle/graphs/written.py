"""Hand-written graphs by class: what each class once got wrong, and relatives of it.

`WRITTEN` maps a name "class/what" to a program's text. `one` writes models of one node and one cost, `rows` those of
one plate.
"""

from __future__ import annotations

WRITTEN: dict[str, str] = {}


def add(name: str, text: str) -> None:
    """Register a program's text."""
    if name in WRITTEN:
        raise ValueError(f"two graphs are called {name}")
    WRITTEN[name] = text.strip() + "\n"


def model(body: str, arguments: str = "") -> str:
    """A model of the given lines."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return f"@ppl.model\ndef model({arguments}):\n{lines}\nobjective = model\n"


def one(name: str, dist: str, cost: str, params: str) -> None:
    """One node z over parameters `t` (and `s`), and a cost of it."""
    used = [p for p in ("s", "t") if f"{p}=" in params.replace(" ", "")]
    lines = [f"{p} = ppl.param({p!r}, 0.5)" for p in used]
    add(
        name,
        model("\n".join([*lines, f"z = ppl.sample('z', {dist})", f"ppl.cost('c', {cost})"])) + f"params = {params}",
    )


def rows(name: str, body: str, params: str, data: str, total_rows: str = "None") -> None:
    """Lines of a model of one data argument x."""
    add(name, model(body, "x") + f"params = {params}\ndata = ({data},)\ntotal_rows = {total_rows}")


# --- sums over plates of costs that depend on an enumerated node but on no data ---------------------------

X3 = "np.array([0.7, -1.1, 0.4])"
NESTED = "np.array([[0.5, -1.0], [1.2, 0.3], [-0.7, 0.9]])"
GLOBAL = "t = ppl.param('t', 0.5)\nb = ppl.sample('b', {dist})\nwith ppl.plate('data', x) as x:\n    {body}"

rows("plates/bernoulli", GLOBAL.format(dist="ppl.Bernoulli(logits=t)", body="ppl.cost('c', b)"), "dict(t=0.5)", X3)
rows(
    "plates/bernoulli scaled",
    GLOBAL.format(dist="ppl.Bernoulli(logits=t)", body="ppl.cost('c', (b - 0.3) ** 2)"),
    "dict(t=0.5)", X3, "12",
)  # fmt: skip
rows(
    "plates/categorical table",
    GLOBAL.format(dist="ppl.Categorical(logits=t * np.array([0.0, 1.0, -1.0]))",
                  body="ppl.cost('c', ppl.constant([0.4, 1.0, -0.7])[b])"),
    "dict(t=0.5)", X3, "9",
)  # fmt: skip
rows(
    "plates/one-hot",
    GLOBAL.format(dist="ppl.OneHotCategorical(logits=t * np.array([0.0, 1.0, -1.0]))",
                  body="ppl.cost('c', np.sum(b * np.array([0.4, 1.0, -0.7])) ** 2)"),
    "dict(t=0.5)", X3,
)  # fmt: skip
rows(
    "plates/two costs",
    GLOBAL.format(dist="ppl.Bernoulli(logits=t)",
                  body="ppl.cost('c', b * t)\n    ppl.cost('d', (b - x) ** 2)"),
    "dict(t=0.5)", X3, "6",
)  # fmt: skip
rows(
    "plates/row node and global cost",
    GLOBAL.format(dist="ppl.Bernoulli(logits=t)",
                  body="z = ppl.sample('z', ppl.Normal(t * x, 1.0))\n    ppl.cost('c', b)\n    ppl.cost('d', z * b)"),
    "dict(t=0.5)", X3, "6",
)  # fmt: skip
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
add(
    "plates/fixed",
    model("t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
          "with ppl.plate('k', 4):\n    ppl.cost('c', (b - 0.2) ** 2)") + "params = dict(t=0.5)",
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
    add(f"edges/{label}", model(CLASSES.format(dist=dist, cost=cost)) + "params = dict(t=[0.4, 0.6, 0.0])")
add(
    "edges/child of an unreachable state",
    model("t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(t))\n"
          "c = ppl.sample('c', ppl.Bernoulli(0.3 + 0.4 * b))\nppl.cost('d', (c - 0.2) ** 2 + b)") + "params = dict(t=1.0)",
)  # fmt: skip
add(
    "edges/invalid scale in an unreachable state",
    model("t = ppl.param('t', 0.5)\nm = ppl.param('m', 0.0)\nb = ppl.sample('b', ppl.Bernoulli(t))\n"
          "z = ppl.sample('z', ppl.Normal(m, b))\nppl.cost('d', z ** 2 + b)") + "params = dict(t=1.0, m=0.4)",
)  # fmt: skip

# --- poles, jumps and kinks ---------------------------------------------------------------------------------

N = "ppl.Normal(t, 0.8)"
for label, cost in {
    "z/|z|": "z / np.abs(z)",
    "tanh(1/z)": "np.tanh(1 / z)",
    "tanh(tan z)": "np.tanh(np.tan(z))",
    "arctan(1/z)": "np.arctan(1 / z)",
    "arctan(tan z)": "np.arctan(np.tan(z))",
    "sigmoid(1/z)": "ppl.sigmoid(1 / z)",
    "z/sqrt(z^2)": "z / np.sqrt(z * z)",
    "tanh(z^-3)": "np.tanh(z ** -3)",
    "tanh(digamma)": "np.tanh(1 / (z + 0.5 * z * z))",
    "sin(z)/|sin(z)|": "np.sin(3 * z) / np.abs(np.sin(3 * z))",
    "exp(-1/z^2) sign": "np.exp(-1 / (z * z)) * z / np.abs(z)",
    "moved pole": "np.tanh(0.5 / (z - 0.4))",
    "1/(1+exp(1/z))": "1 / (1 + np.exp(1 / z))",
    "sqrt(z^2)": "np.sqrt(z * z)",
    "sqrt(z^2) smooth": "np.sqrt(1 + z * z)",
    "sign": "np.sign(z - 0.2)",
    "floor": "np.floor(2 * z)",
    "where": "np.where(z > 0.2, z ** 2, -z)",
    "abs": "np.abs(z - 0.3) + np.maximum(z, 0.1) ** 2",
    "remainder": "np.mod(z, 1.0)",
    "argmax": "np.argmax(np.stack([z, 0.2, -z])) * 1.0",
}.items():
    one(f"poles/{label}", N, cost, "dict(t=0.3)")
one("poles/sqrt(z^2), scale", "ppl.Normal(t, np.exp(s))", "np.sqrt(z * z)", "dict(t=0.3, s=-0.2)")
one("poles/inside the cost's parameter", N, "(z + t) / np.abs(z + t)", "dict(t=0.3)")
one("poles/jump at a parameter", N, "np.where(z > t ** 2, 1.0, 0.0)", "dict(t=0.3)")
one("poles/log of gamma", "ppl.Gamma(np.exp(t), 1.0)", "np.log(z) ** 2", "dict(t=0.8)")
one("poles/1/z of a gamma", "ppl.Gamma(np.exp(t), 1.0)", "1 / z", "dict(t=1.5)")
one("poles/1/(z-1) of a gamma", "ppl.Gamma(np.exp(t), 1.0)", "np.tanh(1 / (z - 1))", "dict(t=0.8)")
one("poles/1/(2z-1) of a beta", "ppl.Beta(np.exp(t), 2.0)", "np.tanh(0.3 / (2 * z - 1))", "dict(t=0.3)")
one("poles/tan of a uniform path", "ppl.Uniform(t, t + 2.0)", "np.tanh(np.tan(z))", "dict(t=0.3)")
one("poles/student", "ppl.StudentT(4.0, t, 1.0)", "np.tanh(1 / z)", "dict(t=0.3)")
one("poles/relaxed bernoulli", "ppl.Bernoulli(logits=t)", "np.tanh(0.3 / (z - 0.45))", "dict(t=0.3)")
one("poles/bernoulli power", "ppl.Bernoulli(logits=t)", "np.tanh((z - 0.45) ** -1.0)", "dict(t=0.3)")
one("poles/bernoulli tan", "ppl.Bernoulli(logits=t)", "np.tanh(np.tan(3 * z))", "dict(t=0.3)")
add(
    "poles/arctan of a quotient",
    model("t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t * np.ones(2), 0.8))\n"
          "ppl.cost('c', np.arctan(z[1] / z[0]))") + "params = dict(t=0.3)",
)  # fmt: skip
add(
    "poles/quotient of two nodes",
    model("t = ppl.param('t', 0.5)\ny = ppl.sample('y', ppl.Normal(t, 0.8))\nz = ppl.sample('z', ppl.Normal(0.5, 0.7))\n"
          "ppl.cost('c', np.tanh(z / y))") + "params = dict(t=0.3)",
)  # fmt: skip
add(
    "poles/child's probability",
    model("t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t, 0.8))\n"
          "b = ppl.sample('b', ppl.Bernoulli(logits=np.tanh(1 / z)))\nppl.cost('c', (b - 0.2) ** 2)")
    + "params = dict(t=0.3)",
)  # fmt: skip
add(
    "poles/child's location",
    model("t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t, 0.8))\n"
          "y = ppl.sample('y', ppl.Normal(z / np.abs(z), 0.5))\nppl.cost('c', np.sin(y))") + "params = dict(t=0.3)",
)  # fmt: skip
add(
    "poles/bernoulli through a child",
    model("t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
          "c = ppl.sample('c', ppl.Bernoulli(logits=np.tanh(0.3 / (b - 0.45))))\nppl.cost('d', (c - 0.2) ** 2 + b)")
    + "params = dict(t=0.3)",
)  # fmt: skip
