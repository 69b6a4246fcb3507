"""What runs: states, bound data, executables and their caches, and what is said of results that are not finite."""
