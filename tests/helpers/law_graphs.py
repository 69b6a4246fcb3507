"""The law graphs: small objectives with 1–3 random layers whose exact gradients are known and of order
their scale.

`LAWS` maps names to functions that build a `Graph`. Estimator laws run over all of them and all their nodes, so a graph
added here is tested with every estimator, and a new estimator with every graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from scipy.special import expit, ndtr

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical
from ppl.lang.layers import BinaryUnits
from tests.helpers.laws import Graph, arrays

LAWS: dict[str, Callable[[], Graph]] = {}

TARGET = 0.3

X5 = np.array([-1.2, 0.3, 0.8, -0.5, 1.5])

X3 = np.array([0.7, -1.1, 0.4])


def law(build: Callable[[], Graph]) -> Callable[[], Graph]:
    """Register a law graph under the function's name; built once."""
    LAWS[build.__name__] = cache(build)
    return LAWS[build.__name__]


# --- discrete layers ----------------------------------------------------------------------------


@law
def toy() -> Graph:
    """E[(b - t)^2], b ~ Bernoulli(sigmoid(logit)); the gradient is p (1 - p) (1 - 2 t)."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.4)))
        ppl.cost("loss", (b - TARGET) ** 2)

    def loss(p):
        q = expit(p["logit"])
        return q * (1 - TARGET) ** 2 + (1 - q) * TARGET**2

    return Graph(model, arrays(logit=0.4), loss=loss)


@law
def bernoulli_probs() -> Graph:
    """A unit given by a constrained probability, and a cost with a parameter of its own."""

    @ppl.model
    def model():
        p = ppl.param("p", 0.3, constraint="unit_interval")
        t = ppl.param("t", 0.2)
        ppl.cost("loss", (ppl.sample("b", Bernoulli(probs=p)) - t) ** 2)

    return Graph(model, arrays(p=-0.6, t=0.2))


@law
def layer() -> Graph:
    """Three units under a quadratic cost that couples them."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros(3))))
        ppl.cost("loss", (b @ np.array([1.0, 0.7, -0.5]) - 0.4) ** 2)

    return Graph(model, arrays(logits=[0.5, -0.4, 0.2]))


@law
def two_layers() -> Graph:
    """Two layers of two units; the second layer's logits depend on the first."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", np.zeros(2))))
        w = ppl.param("w", np.zeros((2, 2)))
        b2 = ppl.sample("b2", Bernoulli(logits=b1 @ w + ppl.param("c", np.zeros(2))))
        ppl.cost("loss", np.sum((b2 - 0.3) ** 2 * np.array([1.0, 2.0])) + b2[0] * b2[1])

    return Graph(model, arrays(a=[0.3, -0.5], w=[[1.5, -1.0], [0.5, 2.0]], c=[-0.2, 0.4]))


@law
def three_layers() -> Graph:
    """Three scalar layers in a chain, costs along the way."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", 0.0)))
        b2 = ppl.sample("b2", Bernoulli(logits=ppl.param("w2", 1.0) * b1 - 0.5))
        b3 = ppl.sample("b3", Bernoulli(logits=ppl.param("w3", 1.0) * b2 - 0.3))
        ppl.cost("middle", 0.3 * (b2 - 0.8) ** 2)
        ppl.cost("loss", (b3 - 0.2) ** 2)

    return Graph(model, arrays(a=0.2, w2=2.0, w3=-2.5))


@law
def skip_and_tied() -> Graph:
    """A skip connection, and one parameter in both layers and the cost: what rule 2 is about."""

    @ppl.model
    def model():
        w = ppl.param("w", 1.0)
        b1 = ppl.sample("b1", Bernoulli(logits=w - 0.3))
        b2 = ppl.sample("b2", Bernoulli(logits=2 * w * b1 - 0.5))
        ppl.cost("loss", (b2 + 0.5 * b1 - w) ** 2 + 0.3 * w * b1)

    return Graph(model, arrays(w=0.9))


@law
def costs_upstream() -> Graph:
    """A cost that only some nodes have downstream."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("first", 3.0 * (b1 - 0.2) ** 2)
        b2 = ppl.sample("b2", Bernoulli(logits=b1 + ppl.param("c", 0.0)))
        ppl.cost("second", (b2 - 0.1) ** 2)
        ppl.cost("apart", ppl.param("d", 1.0) ** 2)

    return Graph(model, arrays(a=0.4, c=-0.3, d=0.5))


@law
def threshold() -> Graph:
    """A cost that jumps in what the units add up to: on a relaxed way it would be silently flat."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros(3))))
        total = b @ np.array([1.0, 0.7, -0.5])
        ppl.cost("loss", np.where(total > 0.6, 1.0, 0.0) + 0.2 * total)

    return Graph(model, arrays(logits=[0.5, -0.4, 0.2]))


@numba.njit
def _steps(b, x):
    return np.floor(2.0 * b[0] * x + b[1]) ** 2


@law
def black_box() -> Graph:
    """A user's function without gradient between the units of a row and its cost."""

    @ppl.model
    def model(x):
        a = ppl.param("a", np.zeros(2))
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=a + x * np.array([1.0, -0.5])))
            ppl.cost("loss", ppl.external(_steps, b, x) - ppl.param("t", 0.0) * b[0])

    def loss(p):
        q = expit(p["a"] + X3[:, None] * np.array([1.0, -0.5]))
        total = 0.0
        for bits in itertools.product((0.0, 1.0), repeat=2):
            weight = np.prod(np.where(np.array(bits) == 1, q, 1 - q), axis=1)
            total += weight @ (np.floor(2.0 * bits[0] * X3 + bits[1]) ** 2 - p["t"] * bits[0])
        return 2.0 * total

    return Graph(model, arrays(a=[0.3, -0.4], t=0.6), (X3,), total_rows=6, loss=loss)


@law
def one_hot() -> Graph:
    """Three classes under a quadratic cost of the indicator."""

    @ppl.model
    def model():
        x = ppl.sample("x", OneHotCategorical(logits=ppl.param("logits", np.zeros(3))))
        ppl.cost("loss", (x @ np.array([0.1, 0.8, 1.5]) - 0.4) ** 2)

    return Graph(model, arrays(logits=[0.3, -0.2, 0.5]), points=61)


@law
def one_hot_pair() -> Graph:
    """Two one-hot units, then a Bernoulli."""

    @ppl.model
    def model():
        x = ppl.sample("x", OneHotCategorical(logits=ppl.param("logits", np.zeros((2, 3)))))
        b = ppl.sample("b", Bernoulli(logits=np.sum(x * np.array([[1.0, -1.0, 0.3], [-0.5, 1.2, 0.0]]))))
        ppl.cost("loss", (b - 0.2) ** 2 + 0.5 * x[0] @ x[1])

    return Graph(model, arrays(logits=[[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]]))


@law
def categorical() -> Graph:
    """An integer node that indexes a learnable table."""

    @ppl.model
    def model():
        k = ppl.sample("k", Categorical(logits=ppl.param("logits", np.zeros(3))))
        ppl.cost("loss", (ppl.param("table", np.zeros(3))[k] - 0.4) ** 2)

    return Graph(model, arrays(logits=[0.3, -0.2, 0.5], table=[0.1, 0.8, 1.5]))


# --- continuous nodes ---------------------------------------------------------------------------


@law
def normal() -> Graph:
    """sin and a quadratic of a Normal with learnable location and scale."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("loc", 0.0), np.exp(ppl.param("log_scale", 0.0))))
        ppl.cost("loss", np.sin(z) + 0.25 * (z - 0.5) ** 2)

    return Graph(model, arrays(loc=0.3, log_scale=0.1))


@law
def jump() -> Graph:
    """E[1{z > 1/2}], z ~ N(mu, 1): the gradient is the normal density at 1/2 - mu, where pathwise would
    give 0."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 1.0))
        ppl.cost("loss", np.where(z > 0.5, 1.0, 0.0))

    return Graph(model, arrays(mu=0.2), loss=lambda p: ndtr(p["mu"] - 0.5))


@law
def kinks() -> Graph:
    """Absolute value and relu: kinked, and therefore pathwise."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 0.8))
        ppl.cost("loss", np.abs(z - 0.2) + np.maximum(z, 0.0) ** 2)

    return Graph(model, arrays(mu=0.5), points=4001)


@law
def normal_chain() -> Graph:
    """Normal after Normal, the location and the scale of the second moved by the first."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), 0.7))
        y = ppl.sample("y", Normal(ppl.param("w", 1.0) * z, 0.5 + 0.3 * ppl.sigmoid(z)))
        ppl.cost("loss", np.cos(y) + 0.2 * y * z)

    return Graph(model, arrays(m=0.4, w=0.8), points=301)


@law
def normal_between() -> Graph:
    """Bernoulli, Normal, Bernoulli."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        z = ppl.sample("z", Normal(ppl.param("w", 1.0) * b, 0.8))
        c = ppl.sample("c", Bernoulli(logits=1.5 * z - ppl.param("t", 0.3)))
        ppl.cost("loss", (c - 0.3) ** 2 + 0.2 * z * c + 0.1 * b)

    return Graph(model, arrays(a=0.3, w=1.4, t=0.2))


@law
def bernoulli_between() -> Graph:
    """Normal, Bernoulli, Normal."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), 0.9))
        b = ppl.sample("b", Bernoulli(logits=1.3 * z + 0.2))
        y = ppl.sample("y", Normal(ppl.param("w", 1.0) * b + 0.3 * z, 0.6))
        ppl.cost("loss", np.sin(y) + 0.5 * (y - 0.5 * b) ** 2)

    return Graph(model, arrays(m=0.2, w=1.1), points=201)


def _loc_scale(name: str, cost: Callable, points: int, **values: float) -> None:
    """Register a graph of one node of a location-scale family."""

    def build() -> Graph:
        @ppl.model
        def model():
            dist = getattr(ppl, name)(ppl.param("loc", 0.0), ppl.param("scale", 1.0, constraint="positive"))
            ppl.cost("loss", cost(ppl.sample("z", dist)))

        return Graph(model, arrays(loc=values["loc"], scale=np.log(values["scale"])), points=points)

    build.__name__ = name.lower()
    law(build)


_loc_scale("LogNormal", lambda z: np.sin(z) + 0.2 * z, 3001, loc=0.1, scale=0.5)

_loc_scale("Laplace", lambda z: np.sin(z) + 0.1 * z**2, 6001, loc=0.3, scale=0.7)

_loc_scale("Logistic", lambda z: np.sin(z) + 0.1 * z**2, 3001, loc=0.3, scale=0.5)

_loc_scale("Gumbel", lambda z: np.sin(z) + 0.1 * z**2, 3001, loc=-0.2, scale=0.6)


@law
def exponential() -> Graph:
    """An Exponential under a saturating cost."""

    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Exponential(ppl.param("rate", 1.0, constraint="positive")))
        ppl.cost("loss", np.tanh(z) + 0.2 * z)

    return Graph(model, arrays(rate=0.3), points=3001)


def _positive(name: str, cost: Callable, points: int, **values: float) -> None:
    """Register a graph of one node of a family whose parameters are positive (StudentT: its location not)."""

    def build() -> Graph:
        @ppl.model
        def model():
            params = {k: ppl.param(k, 1.0, constraint=None if k == "loc" else "positive") for k in values}
            ppl.cost("loss", cost(ppl.sample("z", getattr(ppl, name)(**params))))

        raw = {k: v if k == "loc" else np.log(v) for k, v in values.items()}
        return Graph(model, arrays(**raw), points=points)

    build.__name__ = name.lower()
    law(build)


_positive("Gamma", lambda z: np.tanh(z) + 0.2 * z, 3001, concentration=1.7, rate=0.8)

_positive("Beta", lambda z: np.sin(3 * z) + z**2, 3001, concentration1=0.9, concentration0=2.2)

_positive("StudentT", lambda z: np.tanh(z) + np.cos(2 * z), 6001, df=3.5, loc=0.4, scale=0.7)

_positive("Poisson", lambda z: np.tanh(0.4 * z) + 0.1 * z, 80, rate=2.3)


@law
def gamma_rates() -> Graph:
    """Two Gamma units that a cost couples, whose rates alone are learned."""

    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Gamma(np.array([0.6, 2.5]), ppl.param("rate", np.ones(2), constraint="positive")))
        ppl.cost("loss", np.tanh(z[0] * z[1] - 0.5) + 0.2 * z[1])

    return Graph(model, arrays(rate=[-0.3, 0.4]), points=301)


@law
def dirichlet() -> Graph:
    """A Dirichlet row under a quadratic cost, whose expectation has a closed form."""
    w = np.array([0.5, -1.0, 2.0])

    @ppl.model
    def model():
        a = ppl.param("a", np.ones(3), constraint="positive")
        ppl.cost("loss", (ppl.sample("x", ppl.Dirichlet(a)) @ w - 0.3) ** 2)

    def loss(p):
        a = np.exp(p["a"])
        total, mean = a.sum(), a / a.sum()
        second = (np.diag(mean) + total * np.outer(mean, mean)) / (total + 1)
        return w @ second @ w - 0.6 * w @ mean + 0.09

    return Graph(model, arrays(a=[0.3, -0.4, 0.5]), loss=loss)


@law
def multivariate_normal() -> Graph:
    """A vector with learned location and factor under a quadratic cost, whose expectation has a closed form."""
    w = np.array([1.0, -0.5])

    @ppl.model
    def model():
        tril = ppl.param("tril", np.eye(2))
        x = ppl.sample("x", ppl.MultivariateNormal(ppl.param("loc", np.zeros(2)), scale_tril=tril))
        ppl.cost("loss", (x @ w - 0.3) ** 2 + 0.2 * x[0] * x[1])

    def loss(p):
        tril = np.tril(p["tril"])
        second = tril @ tril.T + np.outer(p["loc"], p["loc"])
        return w @ second @ w - 0.6 * w @ p["loc"] + 0.09 + 0.2 * second[0, 1]

    return Graph(model, arrays(loc=[0.4, -0.2], tril=[[0.8, 0.3], [-0.5, 0.6]]), loss=loss)


@law
def mixture_rows() -> Graph:
    """A mixture of two normals per data row, weights and location learned, the weights moved by the row."""

    @ppl.model
    def model(x):
        w, loc = ppl.param("w", np.zeros(2)), ppl.param("loc", np.zeros(2))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Mixture(logits=w * (1 + x), components=Normal(loc, 0.8)))
            ppl.cost("loss", 0.3 * z * z + x * z)

    def loss(p):
        total = 0.0
        for x in X3:
            shares = np.exp(p["w"] * (1 + x)) / np.exp(p["w"] * (1 + x)).sum()
            total += 2 * shares @ (0.3 * (p["loc"] ** 2 + 0.64) + x * p["loc"])
        return total

    return Graph(model, arrays(w=[0.4, -0.3], loc=[-0.9, 1.3]), (X3,), total_rows=6, loss=loss)


@law
def gamma_rows() -> Graph:
    """A global Gamma above a Gamma per data row, the second's concentration moved by the first."""

    @ppl.model
    def model(x):
        g = ppl.sample("g", ppl.Gamma(ppl.param("a", 1.0, constraint="positive"), 2.0))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Gamma(0.5 + g, ppl.param("r", 1.0, constraint="positive")))
            ppl.cost("loss", np.tanh(z - x) + 0.1 * z)

    return Graph(model, arrays(a=0.4, r=0.2), (X3,), total_rows=6, points=301)


@law
def von_mises() -> Graph:
    """Two angles under a periodic cost, the second around a multiple of the first."""

    @ppl.model
    def model():
        k = ppl.param("k", np.ones(2), constraint="positive")
        x = ppl.sample("x", ppl.VonMises(ppl.param("loc", 0.0), k[0]))
        y = ppl.sample("y", ppl.VonMises(2.0 * x + 0.4, k[1]))
        ppl.cost("loss", np.cos(x - 0.5) + 0.6 * np.sin(x + y) + 0.3 * np.cos(2.0 * y))

    return Graph(model, arrays(loc=2.3, k=[0.7, 1.0]), points=41)


@law
def turned() -> Graph:
    """A Bernoulli that turns an angle: the relaxed bit goes through the angle's path."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        x = ppl.sample("x", ppl.VonMises(2.0 * b + 1.3, ppl.param("k", 1.0, constraint="positive")))
        ppl.cost("loss", np.sin(x) ** 2 + 0.8 * np.cos(x) + 0.3 * b)

    return Graph(model, arrays(a=0.3, k=0.6), points=61)


@law
def von_mises_cut() -> Graph:
    """An angle near pi under a cost that is not periodic: pathwise would miss the jump."""

    @ppl.model
    def model():
        k = ppl.param("concentration", 1.0, constraint="positive")
        x = ppl.sample("x", ppl.VonMises(ppl.param("loc", 0.0), k))
        ppl.cost("loss", 0.2 * x**2 + x)

    return Graph(model, arrays(loc=2.2, concentration=0.3), points=6001)


@law
def uniform() -> Graph:
    """Uniform with learnable bounds: E[x^2], whose score would miss the moving edges."""

    @ppl.model
    def model():
        low = ppl.param("low", 0.0)
        ppl.cost("loss", ppl.sample("z", ppl.Uniform(low, low + ppl.param("width", 1.5))) ** 2)

    return Graph(model, arrays(low=-0.4, width=1.9), points=2001)


@law
def relaxed_bernoulli() -> Graph:
    """A RelaxedBernoulli as a node of its own right."""

    @ppl.model
    def model():
        z = ppl.sample("z", ppl.RelaxedBernoulli(0.7, logits=ppl.param("logit", 0.0)))
        ppl.cost("loss", (z - 0.2) ** 2)

    return Graph(model, arrays(logit=0.4), points=2001)


# --- plates -------------------------------------------------------------------------------------


@law
def rows() -> Graph:
    """A Bernoulli per data row, five rows of a data set of twenty."""

    @ppl.model
    def model(x):
        w, c = ppl.param("w", 1.0), ppl.param("c", 0.0)
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=w * x + c))
            ppl.cost("loss", (b - 0.5 * x) ** 2)

    return Graph(model, arrays(w=0.8, c=-0.3), (X5,), total_rows=20)


@law
def global_and_rows() -> Graph:
    """A global Normal above a Bernoulli per row, with minibatch scaling and a cost outside the plate."""

    @ppl.model
    def model(x):
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), 0.7))
        ppl.cost("prior", 2.0 * (z - 1.0) ** 2)
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=z * x + ppl.param("c", 0.0)))
            ppl.cost("loss", (b - 0.4 * z) ** 2)

    return Graph(model, arrays(m=0.5, c=0.2), (X3,), total_rows=6, points=301)


@law
def global_bernoulli_and_rows() -> Graph:
    """A global Bernoulli above a Normal and a Bernoulli per row."""

    @ppl.model
    def model(x):
        g = ppl.sample("g", Bernoulli(logits=ppl.param("a", 0.0)))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("w", 1.0) * g * x, 0.6))
            b = ppl.sample("b", Bernoulli(logits=2.0 * z - 0.4))
            ppl.cost("loss", (b - 0.3) ** 2 + 0.1 * z**2)

    return Graph(model, arrays(a=0.3, w=1.2), (X3,), total_rows=9, points=201)


@law
def nested() -> Graph:
    """A fixed plate inside the data plate, random nodes in both."""

    @ppl.model
    def model(x):
        w = ppl.param("w", 1.0)
        with ppl.plate("data", x) as x:
            g = ppl.sample("g", Bernoulli(logits=w * x[0]))
            with ppl.plate("inner", x) as v:
                b = ppl.sample("b", Bernoulli(logits=v + ppl.param("u", 1.0) * g - 0.2))
                ppl.cost("loss", (b - 0.2 * v) ** 2)

    data = np.array([[0.5, -1.0], [1.2, 0.3], [-0.7, 0.9]])
    return Graph(model, arrays(w=0.7, u=1.3), (data,), total_rows=6)


@law
def costs_in_and_between() -> Graph:
    """Costs outside every plate, in the outer and in the inner plate, of a global and a per-row node."""

    @ppl.model
    def model(x):
        g = ppl.sample("g", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("outside", (g - ppl.param("t", 0.0)) ** 2)
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=x[0] + ppl.param("u", 1.0) * g))
            ppl.cost("between", 0.5 * (b - 0.3) ** 2)
            with ppl.plate("inner", x) as v:
                ppl.cost("inside", (b * v - 0.5 * g) ** 2)

    data = np.array([[0.5, -1.0], [1.2, 0.3], [-0.7, 0.9]])
    return Graph(model, arrays(a=0.2, t=0.6, u=0.8), (data,), total_rows=6)


@law
def coupled_rows() -> Graph:
    """Rows of a fixed plate that one cost outside couples through `collect`."""
    offsets = np.array([0.3, -0.4, 0.1])

    @ppl.model
    def model():
        with ppl.plate("k", offsets) as o:
            b = ppl.sample("b", Bernoulli(logits=ppl.param("c", 0.0) + o))
            ppl.cost("own", 0.2 * b * o)
        ppl.cost("loss", (np.sum(ppl.collect(b, "k")) - ppl.param("t", 1.0)) ** 2)

    def loss(p):
        q = expit(p["c"] + offsets)
        total = 0.0
        for b in itertools.product((0.0, 1.0), repeat=3):
            bits = np.array(b)
            prob = np.prod(np.where(bits == 1, q, 1 - q))
            total += prob * ((bits.sum() - p["t"]) ** 2 + 0.2 * bits @ offsets)
        return total

    return Graph(model, arrays(c=0.4, t=0.8), loss=loss)


# --- layers and objectives ----------------------------------------------------------------------


def _binary_units(noise: str) -> None:
    def build() -> Graph:
        @ppl.model
        def model(x):
            with ppl.plate("data", x) as x:
                y = ppl.layers.chain(x, BinaryUnits(2, noise), name="y")
                ppl.cost("loss", (y[0] + 2.0 * y[1] - 0.7) ** 2)

        params = arrays(**{"y/0.weight": [[0.4, -0.3]], "y/0.bias": [0.1, 0.2]})
        return Graph(model, params, (X3[:, None],))

    build.__name__ = f"binary_units_{noise}"
    law(build)


for _noise in ("logistic", "normal", "uniform"):
    _binary_units(_noise)

DIGITS = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@law
def elbo_sbn() -> Graph:
    """A sigmoid belief network of one stochastic layer over two pixels, its guide a binary layer."""

    @ppl.model
    def generative(x):
        prior, w = ppl.param("prior", np.zeros(2)), ppl.param("w", np.zeros((2, 2)))
        with ppl.plate("data", x) as x:
            h = ppl.sample("h", Bernoulli(logits=prior))
            ppl.sample("x", Bernoulli(logits=h @ w - 0.5), obs=x)

    @ppl.model
    def guide(x):
        v = ppl.param("v", np.zeros((2, 2)))
        with ppl.plate("data", x) as x:
            ppl.sample("h", Bernoulli(logits=x @ v))

    params = arrays(prior=[0.2, -0.1], w=[[1.0, -0.5], [0.4, 1.3]], v=[[0.7, -0.2], [0.1, 0.6]])
    return Graph(ppl.elbo(generative, guide), params, (DIGITS,), total_rows=6)


@law
def elbo_deep() -> Graph:
    """Two latent layers, the guide upwards and the model downwards: no closed KL for the first."""

    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            top = ppl.sample("top", Bernoulli(logits=ppl.param("p", 0.0)))
            low = ppl.sample("low", Bernoulli(logits=ppl.param("w", 1.0) * top - 0.4))
            ppl.sample("x", Normal(low * ppl.param("u", 1.0), 0.8), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            low = ppl.sample("low", Bernoulli(logits=ppl.param("r", 1.0) * x))
            ppl.sample("top", Bernoulli(logits=ppl.param("s", 1.0) * low - 0.2))

    return Graph(ppl.elbo(generative, guide), arrays(p=0.3, w=1.2, u=0.9, r=0.8, s=1.1), (X3,))


def _elbo_normal(kl: str) -> Callable[[], Graph]:
    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("prior", 0.0), 1.2))
            ppl.sample("x", Bernoulli(logits=ppl.param("w", 1.0) * z), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(ppl.param("m", 1.0) * (2 * x - 1), np.exp(ppl.param("s", 0.0))))

    params = arrays(prior=0.3, w=1.1, m=0.6, s=-0.4)
    objective = ppl.elbo(generative, guide, kl=kl, kl_weight=ppl.hyper("beta", 1.0))
    return lambda: Graph(objective, params, (DIGITS[:, 0],), total_rows=6, hyper={"beta": 0.7})


@law
def elbo_normal() -> Graph:
    """Normal latents with the divergence in closed form, weighted by a run-time scalar."""
    return _elbo_normal("auto")()


@law
def elbo_normal_sampled() -> Graph:
    """The same with a sampled divergence."""
    return _elbo_normal("sampled")()


@law
def elbo_normal_deep() -> Graph:
    """Two Normal latents, the guide upwards and the model downwards, all of the divergence sampled."""

    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            top = ppl.sample("top", Normal(ppl.param("p", 0.0), 1.1))
            low = ppl.sample("low", Normal(ppl.param("w", 1.0) * top, 0.9))
            ppl.sample("x", Normal(low, 0.8), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            low = ppl.sample("low", Normal(ppl.param("r", 1.0) * x, np.exp(ppl.param("s", 0.0))))
            ppl.sample("top", Normal(ppl.param("u", 1.0) * low, 0.7))

    params = arrays(p=0.4, w=0.6, r=0.9, s=-0.3, u=0.3)
    return Graph(ppl.elbo(generative, guide, kl="sampled"), params, (X3,), total_rows=6, points=161)


@law
def elbo_von_mises() -> Graph:
    """An angle per row, seen through its sine and cosine."""

    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.VonMises(ppl.param("p", 0.0), 1.3))
            ppl.sample("x", Normal(np.cos(z) + 0.5 * np.sin(z), 0.8), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", ppl.VonMises(ppl.param("r", 1.0) * x + 2.0, np.exp(ppl.param("s", 0.0))))

    params = arrays(p=0.4, r=1.2, s=0.3)
    return Graph(ppl.elbo(generative, guide, kl="sampled"), params, (X3,), total_rows=6, points=61)


@law
def normal_vector() -> Graph:
    """Two Normal units per row that a smooth cost couples, with a scale that the data moves."""

    @ppl.model
    def model(x):
        loc, tilt = ppl.param("loc", np.zeros(2)), ppl.param("tilt", 0.0)
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(loc * x, np.exp(tilt * x) * np.array([0.6, 0.9])))
            ppl.cost("loss", np.sin(z[0] * z[1]) + 0.3 * (z[0] - x) ** 2 + ppl.softplus(z[1]))

    return Graph(model, arrays(loc=[0.4, -0.5], tilt=0.3), (X3,), total_rows=6, points=201)


@law
def elbo_shared() -> Graph:
    """A parameter that model and guide share."""

    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Bernoulli(logits=0.3))
            ppl.sample("x", Normal(ppl.param("w", 1.0, shared=True) * z, 1.0), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Bernoulli(logits=ppl.param("w", 1.0, shared=True) * x))

    return Graph(ppl.elbo(generative, guide), arrays(w=0.9), (X3,))


@law
def likelihood_mixture() -> Graph:
    """A mixture summed out exactly below a sampled gate."""
    means = np.array([-1.0, 0.5, 1.5])

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            g = ppl.sample("g", Bernoulli(logits=ppl.param("a", 0.0)))
            k = ppl.sample("k", Categorical(logits=ppl.param("logits", np.zeros(3)) * (1 + g)))
            ppl.sample("x", Normal(ppl.constant(means)[k] + ppl.param("shift", 0.0), 0.9), obs=x)

    def loss(p):
        total = 0.0
        for x in X3:
            for g, pg in ((0.0, expit(-p["a"])), (1.0, expit(p["a"]))):
                logits = p["logits"] * (1 + g)
                weights = np.exp(logits) / np.exp(logits).sum()
                density = np.exp(-0.5 * ((x - means - p["shift"]) / 0.9) ** 2) / (0.9 * np.sqrt(2 * np.pi))
                total -= pg * np.log(weights @ density)
        return total * 2.0

    params = arrays(a=0.4, logits=[0.8, -0.7, 0.5], shift=0.2)
    return Graph(ppl.likelihood(model, marginalize="k"), params, (X3,), total_rows=6, loss=loss)


@law
def plate_opened_again() -> Graph:
    """Rows that a `collect` couples, and a cost in the same plate again: every row of it depends on all of them."""

    @ppl.model
    def model():
        p, m = ppl.param("p", 0.0), ppl.param("m", np.zeros(2))
        with ppl.plate("k", m) as mk:
            b = ppl.sample("b", Bernoulli(logits=p + mk))
        n = np.sum(ppl.collect(b, "k"))
        with ppl.plate("k", m) as mk:
            ppl.cost("loss", (n - mk) ** 2 + 0.3 * b)

    def loss(p):
        q, total = expit(p["p"] + p["m"]), 0.0
        for bits in itertools.product((0.0, 1.0), repeat=2):
            b = np.array(bits)
            total += np.prod(np.where(b == 1, q, 1 - q)) * np.sum((b.sum() - p["m"]) ** 2 + 0.3 * b)
        return total

    return Graph(model, arrays(p=0.6, m=[0.4, -0.7]), loss=loss)
