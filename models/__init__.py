"""The model zoo, imported as ``ppl.models``: one model per file, each runnable on its own.

A module that defines ``main(argv=None)`` is listed by ``ppl list`` under the first line of its docstring, and
runs by ``ppl run NAME`` or ``python -m ppl.models.NAME``.
"""
