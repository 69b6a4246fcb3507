"""Seeing everything: stages of the IR, emitted source, graph, drawings, the plan as table and as data."""

import ast
import importlib.util

import networkx as nx
import pytest

import ppl
from ppl.errors import DataError
from tests.program.programs import data, mixed_program, toy_program, units_program

STAGES = ["trace", "expand", "differentiate", "simplify", "schedule"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("build", [mixed_program, toy_program], ids=["mixed", "toy"])
def test_every_stage_prints(build, stage):
    text = build().ir(stage)
    assert isinstance(text, str) and text.strip()


def test_stages_show_what_they_should():
    program = mixed_program()
    assert "sample" in program.ir("trace") and "sample" not in program.ir("expand").split()
    for name in program.init(0, data()).params:
        assert name in program.ir("differentiate")
    with pytest.raises(DataError, match=r"no stage 'optimise'; stages: trace, .*, simplify, schedule"):
        program.ir("optimise")


@pytest.mark.parametrize("build", [mixed_program, toy_program], ids=["mixed", "toy"])
def test_the_source_is_a_readable_module(build, tmp_path):
    source = build().source
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    assert functions and all(ast.get_docstring(f) for f in functions)
    (tmp_path / "emitted.py").write_text(source)
    spec = importlib.util.spec_from_file_location("emitted", tmp_path / "emitted.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.njit_entry)


def test_the_graph_has_kinds_edges_and_estimators():
    graph = mixed_program().graph
    assert isinstance(graph, nx.DiGraph) and nx.is_directed_acyclic_graph(graph)
    kinds = {n: str(d["kind"]) for n, d in graph.nodes(data=True)}
    assert all(n in kinds for n in ("x", "b", "z", "shift", "fit", "size", "up.weight"))
    assert nx.has_path(graph, "up.weight", "fit") and nx.has_path(graph, "b", "z")
    assert not nx.has_path(graph, "b", "size")
    assert "leave_one_out" in graph.nodes["b"]["estimator"] and "Pathwise" in graph.nodes["z"]["estimator"]
    graph.remove_node("b")
    assert "b" in mixed_program().graph


def test_drawings(tmp_path):
    pytest.importorskip("matplotlib")
    program = mixed_program()
    ppl.draw(program, tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    ppl.draw(program, tmp_path / "g.dot")
    dot = (tmp_path / "g.dot").read_text()
    assert dot.startswith("digraph") and dot.count("{") == dot.count("}")
    assert all(f'"{n}"' in dot for n in ("b", "z", "shift")) and "Pathwise" in dot


def test_the_plan_is_a_table_and_data():
    plan = mixed_program().explain()
    text = str(plan)
    for word in ("b", "z", "shift", "Bernoulli", "Normal", "leave_one_out", "Pathwise", "unbiased", "2 particles"):
        assert word in text
    assert plan["b"].estimator.baseline == "leave_one_out"
    assert plan["b"].reason.startswith("named by the user")
    assert plan.regions == 1
    auto = ppl.compile(units_program("score").objective.model, data=data()).explain()
    assert auto["b"].rejected and all(len(r) == 2 and all(r) for r in auto["b"].rejected)


def test_a_program_prints_what_it_is():
    text = repr(mixed_program())
    assert text.startswith("Program(ExpectedCost(mixed), data x, float64, cpu, particles=2, ")
    assert "shift: Pathwise()" in text and "b: ScoreFunction(baseline='leave_one_out')" in text
    assert repr(ppl.compile(units_program("score").objective)).endswith("data x, float32, cpu, particles=1)")


def test_the_reason_is_said_once():
    @ppl.model
    def jump():
        ppl.cost("c", ppl.sample("z", ppl.Normal(ppl.param("m", 0.0), 1.0)) > 0.5)

    reason = ppl.compile(jump).explain()["z"].reason
    parts = reason.split("; ")
    assert len(set(parts)) == len(parts), reason
