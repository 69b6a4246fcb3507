"""Running programs: states, bound data, executables and their caches, and errors about results that are not finite."""
