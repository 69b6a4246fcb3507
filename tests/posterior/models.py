"""Networks of `networks.py` as models of the package."""

import numpy as np

import ppl
from ppl import Categorical


def model_of(network, learned=True):
    """A model whose tables are parameters (unless 0 occurs) and whose emissions are factors of observations."""

    @ppl.model
    def model():
        values = {}
        for name, above in network.parents.items():
            table = ppl.constant(network.tables[name])
            if learned:
                shift = ppl.param(f"shift {name}", np.zeros(network.tables[name].shape))
                table = ppl.constant(np.log(network.tables[name])) + shift
            row = table[tuple(values[q] for q in above)] if above else table
            law = Categorical(logits=row) if learned else Categorical(probs=row)
            values[name] = ppl.sample(name, law)
        for name, log_density in network.emissions.items():
            mean = ppl.constant(log_density)[values[name]]
            ppl.sample(f"seen {name}", Exact(mean), obs=0.0)

    return model


def Exact(log_density):
    """A law whose log-density at 0 is `log_density` up to a constant: a normal of unit variance, far enough away."""
    distance = np.sqrt(2.0 * (FAR - log_density))
    return ppl.Normal(distance, 1.0)


FAR = 10.0


def log_constant(network):
    """What the observations of `Exact` add to the log-density of the data."""
    return -len(network.emissions) * (FAR + 0.5 * np.log(2 * np.pi))
