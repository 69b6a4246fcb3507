"""From the stochastic graph to source that runs: plan, surrogate, lower, schedule, emit, in the order of imports."""
