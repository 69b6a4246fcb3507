"""The workloads, one per file, each with ``run(peers: list[str]) -> dict``.

The first line of a module's docstring is its description. A name that starts with an underscore is a helper.
A workload imports a peer only if it is named in ``peers``; the record is a :class:`benchmarks.timing.Record`.
"""
