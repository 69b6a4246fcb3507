"""Programs on several processes (ranks of an MPI communicator): rows shared out, sums in a fixed order."""
