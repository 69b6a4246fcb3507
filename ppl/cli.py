"""The ``ppl`` command.

``ppl list`` shows the model zoo, ``ppl run NAME`` runs one of its models, ``ppl doctor`` examines the machine, and
``ppl cache --clear`` removes compiled code.

It stands outside the pipeline. A model is a module of :mod:`ppl.models` that defines ``main(argv=None)``; its
description is the first line of its docstring. Listing reads source text and imports no model.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import ppl.models
from ppl import doctor
from ppl.arguments import names, shown
from ppl.errors import OptionError, PplError


class Runnable(NamedTuple):
    """A runnable model: its module name within ``ppl.models`` and a one-line description."""

    name: str
    description: str


def runnable() -> list[Runnable]:
    """Return the runnable models in alphabetical order, without importing them."""
    names = sorted(module.name for module in pkgutil.iter_modules(ppl.models.__path__))
    return [model for name in names if (model := _read(name)) is not None]


def _read(name: str) -> Runnable | None:
    """Return the model of module ``name``, or None if it defines no ``main`` or cannot be parsed."""
    spec = importlib.util.find_spec(f"ppl.models.{name}")
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        with open(spec.origin, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError):
        return None
    if not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
        return None
    docstring = ast.get_docstring(tree) or ""
    return Runnable(name, docstring.partition("\n")[0])


def list_models() -> int:
    """Print the runnable models, one per line; return the exit status."""
    found = runnable()
    width = max((len(model.name) for model in found), default=0)
    for model in found:
        print(f"{model.name:{width}}  {model.description}".rstrip())
    return 0


def run_model(name: str, arguments: Sequence[str]) -> int:
    """Run ``ppl.models.NAME`` with ``arguments``; return the exit status."""
    known = [model.name for model in runnable()]
    if name not in known:
        print(_unknown(name, known), file=sys.stderr)
        return 2
    try:
        status = importlib.import_module(f"ppl.models.{name}").main(list(arguments))
    except PplError as error:
        print(f"ppl: {error}", file=sys.stderr)
        return 2
    return status if isinstance(status, int) else 0


def _unknown(name: str, names: Sequence[str]) -> str:
    """Return the message for a name that is not in the zoo, with close matches or all names."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"ppl: there is no model {name!r}; did you mean {' or '.join(close)}?"
    return f"ppl: there is no model {name!r}; 'ppl list' shows them: {', '.join(names) or 'none'}"


def _parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    parser = argparse.ArgumentParser(prog="ppl", description="Run the models that come with ppl, and look after it.")
    parser.add_argument("--version", action="version", version=f"ppl {version('numba-ppl')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="list the models that can be run")
    run = commands.add_parser("run", help="run a model; 'ppl run NAME --help' shows its options")
    run.add_argument("name", metavar="NAME", help="a name from 'ppl list'")
    run.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="passed on to the model")
    commands.add_parser(
        "doctor", help="show versions, processor, threads, cache and CUDA, and test them for some seconds"
    )
    cache = commands.add_parser("cache", help="look at compiled code on disk, or remove it")
    cache.add_argument(
        "--clear", action="store_true", help="remove it; programs are compiled anew when they are needed"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ppl`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the command's name; the process's own by default.

    Returns
    -------
    int
        The exit status: 0, 2 for an unknown model, or what the model's ``main`` returned.
    """
    if isinstance(argv, str):
        raise OptionError(f"argv must be a sequence of strings, not {shown(argv)}")
    options = _parser().parse_args(None if argv is None else names("argv", argv))
    if options.command == "list":
        return list_models()
    if options.command == "doctor":
        return doctor.report()
    if options.command == "cache":
        return doctor.clear_cache() if options.clear else doctor.show_cache()
    return run_model(options.name, options.arguments)


if __name__ == "__main__":
    sys.exit(main())
