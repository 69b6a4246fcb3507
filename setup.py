"""List the packages: ``kernels/`` and ``models/`` install as ``ppl.kernels`` and ``ppl.models``.

Everything else about the build is in ``pyproject.toml``. The list is computed, so that adding a subpackage
anywhere needs no line here.
"""

from setuptools import find_packages, setup


def subtree(folder: str, package: str) -> list[str]:
    """Return ``package`` and its subpackages, found under the top-level ``folder``."""
    return [package, *(f"{package}.{name}" for name in find_packages(folder))]


setup(packages=subtree("ppl", "ppl") + subtree("kernels", "ppl.kernels") + subtree("models", "ppl.models"))
