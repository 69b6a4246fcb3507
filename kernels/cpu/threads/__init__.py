"""Threads: atomic words, the pool of workers, regions that they run, slabs of rows, and how many threads to use."""
