"""How loops reach memory: views, their tests in the checked build, prefetches, vectors, and how fast memory is."""
