"""Networks on the digits: variational autoencoders, belief nets of 1–3 layers, classifiers with random units."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph, trained
from ppl import Bernoulli, OneHotCategorical
from ppl.models import data, sbn, stochastic_mlp, vae

BATCH = 100


def _digits() -> np.ndarray:
    return data.digits()[0][:BATCH]


@trained(500, 3e-3)
def normal_vae() -> Graph:
    """A variational autoencoder."""
    model, guide = (m.bind(latent=8, hidden=64) for m in (vae.generative, vae.guide))
    return Graph("VAE 64-64-8, 100 digits", ppl.elbo(model, guide), (_digits(),))


@trained(500, 3e-3)
def one_layer() -> Graph:
    """A belief net of one layer."""
    return Graph("belief net 64-32, 100 digits", ppl.elbo(*sbn.network((32,))), (_digits(),))


@trained(500, 3e-3)
def class_vae() -> Graph:
    """A categorical VAE."""

    @ppl.model
    def generative(x: Any) -> None:
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", OneHotCategorical(logits=np.zeros((10, 10))))
            h = ppl.dense("decoder", z.ravel(), 64, activation="tanh")
            ppl.sample("x", Bernoulli(logits=ppl.dense("logits", h, 64)), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.dense("encoder", x, 64, activation="tanh")
            ppl.sample("z", OneHotCategorical(logits=ppl.dense("classes", h, 100).reshape((10, 10))))

    return Graph("categorical VAE 64-64-(10 × 10), 100 digits", ppl.elbo(generative, guide), (_digits(),))


@trained(500, 3e-3)
def belief_net() -> Graph:
    """A belief net of two layers."""
    return Graph("belief net 64-32-16, 100 digits", ppl.elbo(*sbn.network((32, 16))), (_digits(),))


@graph
def importance_vae() -> Graph:
    """A VAE under the importance-weighted bound."""
    model, guide = (m.bind(latent=8, hidden=32) for m in (vae.generative, vae.guide))
    return Graph("VAE 64-32-8, bound of 5 samples, 100 digits", ppl.iwae(model, guide, particles=5), (_digits(),))


@graph
def importance_net() -> Graph:
    """A belief net under the importance-weighted bound."""
    return Graph("belief net 64-32, bound of 5 samples", ppl.iwae(*sbn.network((32,)), particles=5), (_digits(),))


@graph
def classifier() -> Graph:
    """Random units between pixels and a label."""
    x, labels = _digits(), data.digit_labels()[0][:BATCH]
    objective = ppl.likelihood(stochastic_mlp.network.bind(hidden=(32,)))
    return Graph("classifier 64-(32)-10 with random units", objective, (x, labels))


@trained(300, 3e-3)
def deep_net() -> Graph:
    """A belief net of three layers."""
    return Graph("belief net 64-32-16-8, 100 digits", ppl.elbo(*sbn.network((32, 16, 8))), (_digits(),))
