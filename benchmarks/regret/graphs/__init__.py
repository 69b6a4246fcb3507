"""The graphs of the regret table, smallest first: each with its data and where its parameters stand."""

from benchmarks.regret.graphs import costs, everyday, held_out, laws, loops, networks, rows, unseen
from benchmarks.regret.graphs.graph import GRAPHS, Graph

__all__ = ["GRAPHS", "Graph", "costs", "everyday", "held_out", "laws", "loops", "networks", "rows", "unseen"]
