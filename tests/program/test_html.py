"""What notebooks show: well-formed markup of programs, plans, fits, states and models, whatever names they have."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import ppl
from ppl.training.curve import POINTS, curve

SVG = "{http://www.w3.org/2000/svg}"


@ppl.model
def hostile(x):
    w = ppl.param("<w> & 'co'", np.zeros(2))
    with ppl.plate("rows", x) as x:
        b = ppl.sample("b < 1", ppl.Bernoulli(logits=x @ w))
        z = ppl.sample('z"', ppl.Normal(b, 1.0))
        ppl.cost("a & b", (z - 1.0) ** 2)


def parsed(text):
    """The elements of some markup."""
    return ET.fromstring(f"<all>{text}</all>")


@pytest.fixture(scope="module")
def program():
    return ppl.compile(hostile, data=np.ones((5, 2)))


@pytest.fixture(scope="module")
def fit(program):
    data = np.ones((5, 2))
    return ppl.fit(program, data, steps=3, optimizer=ppl.optim.SGD(0.1), validation=data, progress=False)


def test_a_program_shows_its_graph_and_its_plan(program):
    found = parsed(program._repr_html_())
    texts = "".join(found.itertext())
    for name in ("<w> & 'co'", "b < 1", 'z"', "a & b", "Pathwise", "unbiased"):
        assert name in texts
    assert len(found.findall(f".//{SVG}ellipse")) == 2 and len(found.findall(f".//{SVG}polygon")) == 1
    assert len(found.findall(f".//{SVG}g")) == program.graph.number_of_nodes()
    assert len(found.findall(f".//{SVG}path[@marker-end]")) == program.graph.number_of_edges()


def test_a_program_without_data_shows_its_name():
    assert "hostile" in "".join(parsed(ppl.compile(hostile)._repr_html_()).itertext())


def test_plans_fits_states_and_models_are_shown(program, fit):
    candidates = "".join(parsed(program.explain()["b < 1"]._repr_html_()).itertext())
    assert "ScoreFunction" in candidates and "taken" in candidates
    shown = parsed(fit._repr_html_())
    assert len(shown.findall(f".//{SVG}polyline")) + len(shown.findall(f".//{SVG}circle")) == 2
    assert "State at step 3" in "".join(shown.itertext())
    assert "ppl.cost" in "".join(parsed(hostile._repr_html_()).itertext())
    exact = ppl.compile(ppl.likelihood(lonely))
    assert "the gradient is exact" in "".join(parsed(exact.explain()._repr_html_()).itertext())


@ppl.model
def lonely():
    ppl.sample("y", ppl.Normal(ppl.param("m", 0.0), 1.0), obs=1.0)


def test_nodes_of_a_picture_do_not_overlap(program):
    boxes = [[float(x.get(k)) for k in ("x", "y", "width", "height")]
             for x in ET.fromstring(str(ppl.draw(program))).findall(f"./{SVG}g/{SVG}rect")]  # fmt: skip
    for i, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_pictures_are_written_by_their_endings(program, tmp_path):
    picture = ppl.draw(program, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == str(picture) == picture._repr_svg_()
    assert "digraph" in ppl.draw(program, tmp_path / "a.dot")
    assert ppl.draw(program, tmp_path / "a.png").figure and (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [np.nan, 1.0, np.inf, 0.5], np.linspace(9.0, 1.0, 5000)])
def test_curves_of_any_history(values):
    steps, values = np.arange(len(values)), np.array(values, float)
    text = curve({"loss": (steps, values)})
    if not len(values):
        assert text == ""
        return
    line = ET.fromstring(text).find(f"{SVG}polyline")
    if np.isfinite(values).sum() == 1:
        assert line is None
        return
    points = np.array([[float(x) for x in p.split(",")] for p in line.get("points").split()])
    assert 2 <= len(points) <= POINTS and np.isfinite(points).all()
    good = np.isfinite(values)
    assert (np.diff(points[:, 0]) > 0).all() and good.sum() >= len(points)
    if len(values) == 5000:
        assert (np.diff(points[:, 1]) >= 0).all()
