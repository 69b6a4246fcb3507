"""Drawing: DOT text that any Graphviz reads, and a picture through matplotlib."""

import re

import numpy as np
import pytest

import ppl
import ppl.errors
from ppl import Bernoulli, Normal
from ppl.estimators import Rebar
from ppl.notebook.graph_picture import NODE_STYLES, layered_layout, to_dot

X = np.array([0.5, -1.0])


@ppl.model
def model(x):
    with ppl.scope('odd "name"'):
        w = ppl.param("w", 1.0)
    g = ppl.sample("g", Bernoulli(logits=w))
    with ppl.plate("data", x) as x:
        h = ppl.deterministic("back\\slash", np.tanh(w * x + g))
        z = ppl.sample("z", Normal(h, 1.0))
        ppl.cost("loss", z**2 * ppl.hyper("beta", 1.0))


@pytest.fixture
def program():
    return ppl.compile(model, estimators={"g": Rebar(temperature=0.25)}, data=(X,))


STRING = r'"(?:[^"\\]|\\.)*"'


def test_dot_is_well_formed(program, tmp_path):
    path = tmp_path / "graph.dot"
    text = ppl.draw(program, path)
    assert path.read_text(encoding="utf-8") == text
    lines = text.strip().splitlines()
    assert lines[0] == "digraph ppl {" and lines[-1] == "}"
    statement = re.compile(rf"  {STRING} (-> {STRING}|\[label={STRING}, shape=\w+, fillcolor={STRING}\]);")
    assert all(statement.fullmatch(line) for line in lines[3:-1])
    graph = program.graph
    assert len(lines) - 4 == graph.number_of_nodes() + graph.number_of_edges()


def test_dot_quotes_names_and_shows_estimators(program):
    text = to_dot(program.graph)
    assert r'"odd \"name\"/w"' in text and r'"back\\slash"' in text
    assert r'label="g\nRebar\n(temperature=0.25)"' in text
    assert r'label="z\n[data]\nPathwise()"' in text


@pytest.mark.parametrize("ending", [".gv", ".dot"])
def test_dot_needs_no_matplotlib(program, tmp_path, monkeypatch, ending):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    assert "digraph" in ppl.draw(program, str(tmp_path / f"graph{ending}"))


def test_a_picture_without_matplotlib_says_what_to_install(program, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ppl.errors.ModelError, match="matplotlib"):
        ppl.draw(program, tmp_path / "graph.png")


def test_a_png_is_written(program, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path = tmp_path / "graph.png"
    ax = ppl.draw(program, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 5000
    labels = {t.get_text() for t in ax.texts}
    assert "g\nRebar\n(temperature=0.25)" in labels and "z\n[data]\nPathwise()" in labels
    kinds = {t.get_text() for t in ax.get_legend().get_texts()}
    assert kinds == {"parameter", "input", "hyper", "deterministic", "random", "cost"}
    own = plt.subplots()[1]
    assert ppl.draw(program.graph, ax=own) is own
    plt.close("all")


def test_the_layout_puts_children_below_their_parents(program):
    graph = program.graph
    positions = layered_layout(graph)
    assert set(positions) == set(graph)
    assert len(set(positions.values())) == len(positions)
    assert all(positions[a][1] > positions[b][1] for a, b in graph.edges)
    assert {d["kind"] for _, d in graph.nodes(data=True)} <= set(NODE_STYLES)
