"""Programs on several processes (ranks of an MPI communicator): messages, sums in a fixed order, shared-out calls."""
