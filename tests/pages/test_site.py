"""The hooks of the site: links out of docs/, patterns of `nav`, info strings, and docstrings for the reference."""

import importlib.util

import pytest

from tests.pages.blocks import ROOT

pytest.importorskip("mkdocs")


def _module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = _module("site")


@pytest.mark.parametrize(
    ("link", "here", "led"),
    [
        ("loops.md", "predict.md", "loops.md"),
        ("../loops.md", "internals/ir.md", "../loops.md"),
        ("../examples/growth_curve.py", "gallery.md", "repository/examples/growth_curve.py.md"),
        ("../../models", "models/index.md", "../repository/models.md"),
        ("../benchmarks/results/suite.md", "choosing.md", "repository/benchmarks/results/suite.md"),
        ("estimator_variance.png", "repository/benchmarks/results/estimator_variance.md", "estimator_variance.png"),
        ("docs/loops.md", "repository/README.md", "../loops.md"),
        ("nowhere.md", "index.md", "nowhere.md"),
        ("https://numba.pydata.org", "index.md", "https://numba.pydata.org"),
    ],
)
def test_links_lead_to_pages_of_the_site(link, here, led):
    assert site._led(link, here) == led


def test_patterns_of_nav_take_pages_of_their_folder_that_are_not_named():
    nav = [{"Start": ["index.md", "*.md"]}, {"Models": ["models/index.md", "models/*.md"]}]
    assert set(site._names(nav)) == {"index.md", "*.md", "models/index.md", "models/*.md"}
    found = site._expanded(nav, ["new.md", "models/a.md", "models/deep/b.md"])
    assert found == [{"Start": ["index.md", "new.md"]}, {"Models": ["models/index.md", "models/a.md"]}]


def test_info_strings_are_cut_to_the_language():
    assert site.INFO.sub(r"\1", "```python no-run: why\nx\n```\n") == "```python\nx\n```\n"
    assert site.INFO.sub(r"\1", "```\nplain ``` text\n```\n") == "```\nplain ``` text\n```\n"


def test_sentences_after_a_name_are_no_types():
    pytest.importorskip("griffe")
    docstrings = _module("docstrings")
    text = "x : how much of it.\n    More.\nstep : int\n    The step.\n"
    assert (
        docstrings.ENTRY.sub(docstrings._below, text)
        == "x\n    how much of it.\n    More.\nstep : int\n    The step.\n"
    )
