"""Training on a device: gathering, optimizers, sorted additions to tables, repeated launches."""
