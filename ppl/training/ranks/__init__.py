"""`ppl.fit(comm=)`: one training run on the rows of several processes."""
