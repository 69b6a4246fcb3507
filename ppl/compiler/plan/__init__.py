"""The first stage: which estimator every random node gets, and why."""
