"""Hand-written graphs of poles, jumps and kinks, in costs and in the parameters of later nodes."""

from __future__ import annotations

from tests.oracle.graphs.register import one, single

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
single(
    "poles/arctan of a quotient",
    "t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t * np.ones(2), 0.8))\n"
          "ppl.cost('c', np.arctan(z[1] / z[0]))",
    "dict(t=0.3)",
)  # fmt: skip
single(
    "poles/quotient of two nodes",
    "t = ppl.param('t', 0.5)\ny = ppl.sample('y', ppl.Normal(t, 0.8))\n"
          "z = ppl.sample('z', ppl.Normal(0.5, 0.7))\n"
          "ppl.cost('c', np.tanh(z / y))",
    "dict(t=0.3)",
)  # fmt: skip
single(
    "poles/child's probability",
    "t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t, 0.8))\n"
          "b = ppl.sample('b', ppl.Bernoulli(logits=np.tanh(1 / z)))\nppl.cost('c', (b - 0.2) ** 2)",
    "dict(t=0.3)",
)  # fmt: skip
single(
    "poles/child's location",
    "t = ppl.param('t', 0.5)\nz = ppl.sample('z', ppl.Normal(t, 0.8))\n"
          "y = ppl.sample('y', ppl.Normal(z / np.abs(z), 0.5))\nppl.cost('c', np.sin(y))",
    "dict(t=0.3)",
)  # fmt: skip
single(
    "poles/bernoulli through a child",
    "t = ppl.param('t', 0.5)\nb = ppl.sample('b', ppl.Bernoulli(logits=t))\n"
          "c = ppl.sample('c', ppl.Bernoulli(logits=np.tanh(0.3 / (b - 0.45))))\nppl.cost('d', (c - 0.2) ** 2 + b)",
    "dict(t=0.3)",
)  # fmt: skip
