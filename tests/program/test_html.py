"""What notebooks show: well-formed markup of programs, plans, fits, states and models, whatever names they have."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import ppl
from ppl.compiler.plan.plan import JointChoice, MeasuredCandidate, TuningReport
from ppl.estimators import DisARM, Enumerate, Pathwise, Rebar, ScoreFunction
from ppl.notebook.loss_curve import MOST_POINTS, draw_loss_curve
from ppl.notebook.plans import plan_points, variance_time_svg

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
    text = draw_loss_curve({"loss": (steps, values)})
    if not len(values):
        assert text == ""
        return
    line = ET.fromstring(text).find(f"{SVG}polyline")
    if np.isfinite(values).sum() == 1:
        assert line is None
        return
    points = np.array([[float(x) for x in p.split(",")] for p in line.get("points").split()])
    assert 2 <= len(points) <= MOST_POINTS and np.isfinite(points).all()
    good = np.isfinite(values)
    assert (np.diff(points[:, 0]) > 0).all() and good.sum() >= len(points)
    if len(values) == 5000:
        assert (np.diff(points[:, 1]) >= 0).all()


# --- variance against time of the node under the mouse ------------------------------------------------------


def measured(plan):
    """Made-up figures, as `ppl.tune` keeps them."""
    rows = [
        MeasuredCandidate(ScoreFunction(), 4.0, 0.1, 1e-6),
        MeasuredCandidate(DisARM(), 1.0, 0.1, 2e-6, clock="priced"),
        MeasuredCandidate(Rebar(), 2.0, 0.1, 9e-6),
        MeasuredCandidate(Enumerate(), rejected="too many states"),
    ]
    whole = [
        JointChoice((("b < 1", DisARM()), ('z"', Pathwise())), 8, 0.1, 0.01, 0.0, 7e-6, 100, "compiled", taken=True)
    ]
    return plan.with_measurements({"b < 1": rows}, TuningReport(tuple(whole), 1.0, 1.0))


def test_a_tuned_plan_shows_variance_against_time_of_the_node_under_the_mouse():
    plan = measured(ppl.compile(hostile, data=np.ones((5, 2))).explain())
    found = parsed(plan._repr_html_())
    places = found.findall(".//tr[@class='ppl-pictures']/td/div")
    assert len(places) == len(plan) == 2 and places[0].get("class") == "ppl-first"
    dots = places[0].findall(f".//{SVG}circle")
    assert len(dots) == 4 and sum(dot.get("fill") == "#ffffff" for dot in dots) == 1
    assert "8 × DisARM()" in "".join(places[0].itertext()) and "too many states" not in "".join(places[0].itertext())
    steps = [tuple(map(float, p.split(","))) for p in places[0].find(f".//{SVG}polyline").get("points").split()]
    assert len(steps) == 5 and steps == sorted(steps)
    assert "".join(places[1].itertext()) == "not measured"
    assert "nth-child(2):hover" in found.find(".//style").text


def test_seconds_of_the_interpreter_stand_beside_no_others():
    plan = ppl.compile(hostile, data=np.ones((5, 2))).explain()
    rows = [
        MeasuredCandidate(ScoreFunction(), 4.0, 0.1, 1e-3, clock="interpreter"),
        MeasuredCandidate(DisARM(), 1.0, 0.1, 2e-6),
        MeasuredCandidate(Rebar(), 0.0, 0.0, 9e-6),
    ]
    plan = plan.with_measurements({"b < 1": rows})
    assert sorted(p.label for p in plan_points(plan, "b < 1")) == ["1 × DisARM()", "1 × Rebar()"]
    assert variance_time_svg(plan_points(plan, "b < 1")) and variance_time_svg(plan_points(plan, "b < 1")[:1]) == ""


def test_what_was_weighed_for_particles_is_shown_too():
    plan = ppl.compile(hostile, data=np.ones((5, 2)), particles="auto").explain()
    points, estimator = plan_points(plan, 'z"'), plan['z"'].estimator
    assert len({p.label for p in points}) == len(points) > 3
    assert [p.label for p in points if p.taken] == [f"{plan.particles} × {estimator.label}"]
    assert "ppl-pictures" in plan._repr_html_()
