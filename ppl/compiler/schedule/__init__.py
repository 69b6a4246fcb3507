"""The fourth stage: the order of steps, what is fused, and where values lie in memory."""
