"""Sums over nodes: which values vary with which nodes, and in what order the nodes are summed out."""
