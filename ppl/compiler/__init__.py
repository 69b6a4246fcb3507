"""From the stochastic graph to running code: plan, expand, schedule, fuse, emit, and the Program itself."""
