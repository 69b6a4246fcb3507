"""Hand-written graphs of loops over time."""

from __future__ import annotations

from tests.oracle.graphs.register import add, single

SCORE, LEARNED = (
    "estimator=ppl.estimators.ScoreFunction()",
    "estimator=ppl.estimators.ScoreFunction('learned', width=3)",
)

single(
    "loops/a summed node that no carry reads",
    "p, q = ppl.param('p', 0.5), ppl.param('q', 0.5)\ndef step(c, t):\n"
    "    b = ppl.sample('b', ppl.Bernoulli(logits=p * c), estimator=ppl.estimators.Enumerate())\n"
    "    ppl.cost('c', (b - c) ** 2)\n    return 0.5 * c + q, None\n"
    "c, _ = ppl.scan(step, 0.7, length=3)\nppl.cost('d', c * c)",
    "dict(p=0.8, q=0.3)",
)
single(
    "loops/an inner loop that begins with a summed node",
    "p, q = ppl.param('p', 0.5), ppl.param('q', 0.5)\ndef outer(c, s):\n"
    "    b = ppl.sample('b', ppl.Bernoulli(logits=p - 0.3 * s))\n    def inner(e, t):\n"
    f"        z = ppl.sample('z', ppl.Bernoulli(logits=q + e), {SCORE})\n"
    "        ppl.cost('c', (e - z) ** 2)\n        return 0.5 * e, None\n"
    "    ppl.scan(inner, 1.0 * b, length=2, name='inner')\n    return 0.5 * c, None\n"
    "ppl.scan(outer, 0.9, length=2)",
    "dict(p=0.8, q=0.3)",
)
add(
    "loops/a learned baseline reads slices",
    "@ppl.model\ndef model(x):\n    p = ppl.param('p', 0.5)\n    with ppl.plate('data', x) as x:\n"
    "        def step(c, xt):\n            z = ppl.sample('z', ppl.Bernoulli(logits=p * c))\n"
    "            ppl.sample('x', ppl.Normal(z, 0.8), obs=xt)\n            return 1.0 * z, None\n"
    "        ppl.scan(step, 0.5, x * np.array([1.1, -0.7]))\n"
    "@ppl.model\ndef guide(x):\n    g = ppl.param('g', np.zeros(2))\n    with ppl.plate('data', x) as x:\n"
    f"        def step(c, xt):\n            z = ppl.sample('z', ppl.Bernoulli(logits=np.sin(xt)), {LEARNED})\n"
    "            return 1.0 * z, None\n        ppl.scan(step, 0.5, x * g)\n"
    "objective = ppl.elbo(model, guide, kl='sampled')\nparams = dict(p=0.6, g=[0.4, -0.8])\n"
    "data = (np.array([0.73, -1.14, 0.42]),)",
)
