"""Benchmarks of ppl, beside NumPy, PyTorch and JAX, on the user's own machine.

``python -m benchmarks [NAME...] [--peers jax,torch]`` runs the files of ``benchmarks/workloads`` and writes
one JSON and one Markdown file per workload into ``benchmarks/results``. A workload is a module with
``run(peers: list[str]) -> dict`` (see :class:`benchmarks.timing.Record`).
"""
