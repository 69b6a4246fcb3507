"""Undirected graphs against networkx: edges, neighbours, removal and components of random graphs."""

import networkx as nx
import numpy as np
import pytest

from ppl.graph.elimination import UndirectedGraph


def both(seed: int) -> tuple[UndirectedGraph[int], nx.Graph]:
    """One random graph in both forms: pairs, cliques, and nodes without edges."""
    rng = np.random.default_rng(seed)
    ours, theirs = UndirectedGraph(range(3)), nx.Graph()
    theirs.add_nodes_from(range(3))
    for a, b in rng.integers(20, size=(8, 2)).tolist():
        if a != b:
            ours.add_edge(a, b)
            theirs.add_edge(a, b)
    clique = rng.choice(20, 4, replace=False).tolist()
    ours.add_clique(clique)
    theirs.add_edges_from((a, b) for a in clique for b in clique if a != b)
    return ours, theirs


def same(ours: UndirectedGraph[int], theirs: nx.Graph) -> bool:
    """Whether both have the same nodes, edges and components."""
    inside = [v for v in range(20) if v in ours]
    edges = {v: set(ours.neighbours(v)) for v in inside}
    groups = sorted(map(sorted, ours.components())) == sorted(map(sorted, nx.connected_components(theirs)))
    return groups and edges == {v: set(theirs.neighbors(v)) for v in theirs}


@pytest.mark.parametrize("seed", range(10))
def test_a_random_graph_is_that_of_networkx(seed):
    ours, theirs = both(seed)
    assert same(ours, theirs)
    assert all(ours.has_edge_between(a, b) == theirs.has_edge(a, b) for a in theirs for b in theirs)


@pytest.mark.parametrize("seed", range(10))
def test_removing_a_node_of_a_copy_leaves_the_graph(seed):
    ours, theirs = both(seed)
    rest, without = ours.copy(), theirs.copy()
    rest.remove_node(0)
    without.remove_node(0)
    assert same(rest, without)
    assert same(ours, theirs)
