"""Random nodes: a distribution with parameters from the scope, and the expressions through which it is read."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracle.graphs.expressions import Scope, real

FAMILIES: dict[str, float] = {
    "Bernoulli": 4, "BernoulliProbs": 1.5, "Units": 1.2, "Categorical": 2, "Simplex": 0.8, "OneHot": 1.5, "Normal": 5,
    "Pair": 1, "Exponential": 0.8, "LogNormal": 1, "Laplace": 0.8, "Logistic": 0.5, "Gumbel": 0.6, "Uniform": 0.7,
    "StudentT": 0.3, "Gamma": 0.35, "Beta": 0.35, "Poisson": 0.4, "Geometric": 0.5, "Binomial": 0.4, "HalfNormal": 0.4,
    "Weibull": 0.3, "Mixture": 0.9, "Truncated": 0.7, "TruncatedNormal": 0.5, "TruncatedPoisson": 0.3,
    "Cauchy": 0.2, "VonMises": 0.2, "BernoulliEdge": 0.3,
    **dict.fromkeys(("Dirichlet", "MultivariateNormal", "Chi2", "Pareto", "Kumaraswamy", "InverseGamma"), 0.15),
    **dict.fromkeys(("HalfCauchy", "RelaxedBernoulli", "MixtureListed", "MixtureRows", "NegativeBinomial"), 0.2),
    **dict.fromkeys(("BetaBinomial", "DiscreteUniform", "ZeroInflatedPoisson", "MixtureCounts"), 0.2),
}  # fmt: skip


def location(s: Scope) -> str:
    """A location or logit: a parameter alone, or something bounded of what is above."""
    if (not s.values and not s.inputs) or s.chance(0.3):
        return s.param()
    return f"{s.param()} + np.tanh({real(s, 1)})" if s.chance(0.6) else f"{s.param()} * {real(s, 0)}"


def positive(s: Scope, low: float = 0.4, high: float = 1.3) -> str:
    """A scale, rate or concentration: a number, a constrained parameter, or the exponential of something bounded."""
    r = s.rng.random()
    if r < 0.4:
        return s.number(low, high)
    if r < 0.7:
        return s.param("positive")
    return f"np.exp(0.4 * np.tanh({real(s, 1)}))"


def numbers(s: Scope, count: int) -> str:
    """An array of constants."""
    return "np.array([" + ", ".join(s.number(-1.2, 1.2) for _ in range(count)) + "])"


Made = Callable[[Scope], tuple[str, str]]
LINE: dict[str, Made] = {
    "Normal": lambda s: (f"ppl.Normal({location(s)}, {positive(s)})", "real"),
    "Exponential": lambda s: (f"ppl.Exponential({positive(s)})", "real"),
    "LogNormal": lambda s: (f"ppl.LogNormal(0.5 * np.tanh({location(s)}), 0.5)", "real"),
    "Laplace": lambda s: (f"ppl.Laplace({location(s)}, {positive(s)})", "real"),
    "Logistic": lambda s: (f"ppl.Logistic({location(s)}, {positive(s)})", "real"),
    "Gumbel": lambda s: (f"ppl.Gumbel({location(s)}, {positive(s)})", "real"),
    "Uniform": lambda s: ("ppl.Uniform(-1.0, 1.5)", "real"),
    "StudentT": lambda s: (f"ppl.StudentT(5.0, {location(s)}, {positive(s)})", "heavy"),
    "Gamma": lambda s: (f"ppl.Gamma({positive(s, 0.8, 3)}, {positive(s)})", "real"),
    "Beta": lambda s: (f"ppl.Beta({positive(s, 0.8, 3)}, {positive(s, 0.8, 3)})", "real"),
    "HalfNormal": lambda s: (f"ppl.HalfNormal({positive(s)})", "real"),
    "Weibull": lambda s: (f"ppl.Weibull(1.5, {positive(s)})", "real"),
    "Cauchy": lambda s: (f"ppl.Cauchy({location(s)}, {positive(s)})", "heavy"),
    "VonMises": lambda s: (f"ppl.VonMises({location(s)}, {positive(s)})", "angle"),
    "Truncated": lambda s: (
        f"ppl.Truncated(ppl.{s.rng.choice(['Normal', 'Laplace', 'Gumbel'])}({location(s)}, {positive(s)}), "
        f"{s.number(-1, 0)}, {s.number(0.6, 2)})",
        "real",
    ),
    "TruncatedNormal": lambda s: (
        f"ppl.TruncatedNormal({location(s)}, {positive(s)}, {s.number(-1, 1)}, {s.number(1.5, 3)})",
        "real",
    ),
    "Mixture": lambda s: (
        f"ppl.Mixture(logits={s.array(2)} + ({location(s)}) * np.array([1.0, 0.0]), components="
        f"ppl.Normal({numbers(s, 2)} * {s.rng.choice(['1.0', '3.0'])}, {s.number(0.4, 0.9)}))",
        "real",
    ),
    "Pair": lambda s: (f"ppl.Normal({s.array(2)} + {location(s)}, {numbers(s, 2)} ** 2 + 0.3)", "vector 2"),
}
RARE: dict[str, Made] = {
    "Dirichlet": lambda s: (f"ppl.Dirichlet({s.array(3, 'positive')})", "vector 3"),
    "MultivariateNormal": lambda s: (
        f"ppl.MultivariateNormal({s.array(2)} + {location(s)}, scale_tril=np.array([[0.7, 0.0], [-0.4, 0.6]]))",
        "vector 2",
    ),
    "Chi2": lambda s: (f"ppl.Chi2({positive(s, 1.5, 3)})", "real"),
    "Pareto": lambda s: (f"ppl.Pareto(0.6, {positive(s, 2, 4)})", "heavy"),
    "Kumaraswamy": lambda s: (f"ppl.Kumaraswamy({positive(s, 0.8, 2)}, {positive(s, 0.8, 2)})", "real"),
    "InverseGamma": lambda s: (f"ppl.InverseGamma({positive(s, 2, 4)}, {positive(s)})", "heavy"),
    "HalfCauchy": lambda s: (f"ppl.HalfCauchy({positive(s)})", "heavy"),
    "RelaxedBernoulli": lambda s: (f"ppl.RelaxedBernoulli(0.7, logits={location(s)})", "real"),
    "MixtureListed": lambda s: (
        f"ppl.Mixture(logits={s.array(2)}, "
        f"components=[ppl.Normal({location(s)}, 0.6), ppl.Laplace(0.4, {positive(s)})])",
        "real",
    ),
    "MixtureRows": lambda s: (
        f"ppl.Mixture({s.array(2, 'simplex')}, components=ppl.Gamma({numbers(s, 2)} ** 2 + 1.0, {positive(s)}))",
        "real",
    ),
    "NegativeBinomial": lambda s: (f"ppl.NegativeBinomial(2.0, logits=np.tanh({location(s)}) - 1.0)", "count"),
    "BetaBinomial": lambda s: (f"ppl.BetaBinomial({positive(s)}, {positive(s)}, 3)", "count"),
    "DiscreteUniform": lambda s: ("ppl.DiscreteUniform(0, 3)", "count"),
    "ZeroInflatedPoisson": lambda s: (
        f"ppl.ZeroInflatedPoisson({s.param('unit_interval')}, {positive(s)})",
        "count",
    ),
    "MixtureCounts": lambda s: (
        f"ppl.Mixture(logits={s.array(2)}, components=ppl.Poisson(np.array([0.6, 3.0]) * {positive(s)}))",
        "count",
    ),
}
FINITE: dict[str, Made] = {
    "Bernoulli": lambda s: (f"ppl.Bernoulli(logits={location(s)})", "real"),
    "BernoulliProbs": lambda s: (f"ppl.Bernoulli({s.param('unit_interval')})", "real"),
    "BernoulliEdge": lambda s: (f"ppl.Bernoulli({s.edge()})", "real"),
    "Units": lambda s: (f"ppl.Bernoulli(logits={s.array(n := s.rng.choice([2, 3]))} + {location(s)})", f"vector {n}"),
    "Categorical": lambda s: (
        f"ppl.Categorical(logits={s.array(n := s.rng.choice([2, 3]))} * ({location(s)}))",
        f"class {n}",
    ),
    "Simplex": lambda s: (f"ppl.Categorical({s.array(n := s.rng.choice([2, 3]), 'simplex')})", f"class {n}"),
    "OneHot": lambda s: (
        f"ppl.OneHotCategorical(logits={numbers(s, n := s.rng.choice([2, 3]))} * ({location(s)}))",
        f"one {n}",
    ),
    "Binomial": lambda s: (f"ppl.Binomial(3, logits={location(s)})", "count"),
    "Poisson": lambda s: (f"ppl.Poisson({positive(s)})", "count"),
    "Geometric": lambda s: (f"ppl.Geometric(logits=np.tanh({location(s)}))", "count"),
    "TruncatedPoisson": lambda s: (
        f"ppl.Truncated(ppl.Poisson({positive(s)}), low=1, high={s.rng.choice([3, 5])})",
        "count",
    ),
}
FAMILY = {**LINE, **FINITE, **RARE}


def node(s: Scope, families: dict[str, float] | None = None) -> str:
    """Declare a random node; its value joins the scope. Its name."""
    table = families or FAMILIES
    family = s.rng.choices(list(table), list(table.values()))[0]
    name = f"z{s.nodes}"
    s.nodes += 1
    text, how = FAMILY[family](s)
    s.write(f"{name} = ppl.sample({name!r}, {text})")
    read(s, name, how)
    return name


def read(s: Scope, name: str, how: str) -> None:
    """Let expressions read the node."""
    kind, _, size = how.partition(" ")
    if kind == "count":
        s.values.append(f"0.4 * {name}")
    elif kind == "vector":
        s.values += [f"{name}[0]", f"{name}[{int(size) - 1}]", f"np.sum({name})"]
    elif kind == "class":
        s.classes.append((name, int(size)))
    elif kind == "one":
        s.values.append(f"np.sum({name} * {numbers(s, int(size))})")
    elif kind == "heavy":
        s.values.append(f"np.arctan({name})")
    elif kind == "angle":
        s.values += [f"np.cos({name})", f"np.sin(2 * {name})", name]
    else:
        s.values.append(name)
