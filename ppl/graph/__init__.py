"""The stochastic computation graph: node kinds, downstream costs, plates, smoothness, moving supports."""

from ppl.graph.stochastic import RandomNode, StochasticGraph

__all__ = ["RandomNode", "StochasticGraph"]
