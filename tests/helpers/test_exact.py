"""The helper's exact gradients where the user stops them: closed forms by hand."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from tests.helpers.laws import Graph, arrays

pytestmark = pytest.mark.tiny


def test_a_stopped_parameter_stays_where_it_is():
    """E a stop(a) z² with z ~ N(a, 1): the loss is a² (a² + 1), its gradient a (a² + 1) + 2 a³."""

    @ppl.model
    def model():
        a = ppl.param("a", 0.7)
        z = ppl.sample("z", Normal(a, 1.0))
        ppl.cost("c", a * ppl.stop_gradient(a) * z * z)

    a = 0.7
    loss, grads = Graph(model, arrays(a=a)).exact()
    assert loss == pytest.approx(a**2 * (a**2 + 1), rel=1e-8)
    assert grads["a"] == pytest.approx(a * (a**2 + 1) + 2 * a**3, rel=1e-6)


def test_a_stopped_parameter_of_a_law_stays_where_it_is():
    """E z with z ~ Bernoulli(stop(a) b): b's derivative is a, a's is 0."""

    @ppl.model
    def model():
        a, b = ppl.param("a", 0.6), ppl.param("b", 0.5)
        ppl.cost("c", ppl.sample("z", Bernoulli(probs=ppl.stop_gradient(a) * b)))

    loss, grads = Graph(model, arrays(a=0.6, b=0.5)).exact()
    assert (loss, grads["b"]) == (pytest.approx(0.3), pytest.approx(0.6, rel=1e-6))
    assert np.abs(grads["a"]) < 1e-12


@pytest.mark.parametrize("stopped", [lambda z: z, lambda z: 2.0 * z + 1.0], ids=["node", "function"])
def test_a_stopped_draw_is_refused(stopped):
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("a", 0.7), 1.0))
        ppl.cost("c", z * ppl.param("b", 1.0) + ppl.stop_gradient(stopped(z)))

    with pytest.raises(NotImplementedError, match=r"\['z'\] behind stop_gradient: tests.oracle"):
        Graph(model, arrays(a=0.7, b=1.0)).exact()
