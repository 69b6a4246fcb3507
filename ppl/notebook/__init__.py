"""What notebooks show: HTML of plans, states and fits, pictures of graphs, progress below a cell."""
