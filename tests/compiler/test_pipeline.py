"""The stages of `ppl.compiler.pipeline` are what `docs/architecture.md` says, and each prints itself."""

from pathlib import Path

import numpy as np
import pytest

import ppl
from ppl import Bernoulli
from ppl.compiler import pipeline
from ppl.compiler.lower.target import CPU

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


@ppl.model
def model(x):
    """A binary node, and a cost of rows that reads it."""
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.2)))
    with ppl.plate("data", x) as x:
        ppl.cost("loss", (ppl.param("m", 0.0) + b - x) ** 2)


@pytest.fixture(scope="module")
def stages():
    """The results of all stages of the gradient program, by the name of their class."""
    compiled = ppl.compile(model, data=(np.linspace(-1.0, 1.0, 5),)).prepare()
    variant = pipeline.build_variant(compiled, "gradient")
    request = pipeline.make_request(variant, "gradient", compiled.arguments, ())
    lowered = pipeline.lower(request, "float64", CPU)
    schedule = pipeline.fuse(lowered)
    source, _ = pipeline.emit(lowered, schedule)
    found = [compiled.trace, compiled.graph, compiled.plan, variant, request, lowered, schedule, source]
    return {type(stage).__name__: stage for stage in found}


SHOWN = {
    "Trace": "sample",
    "StochasticGraph": "b: Bernoulli -> loss",
    "Plan": "Enumerate()",
    "ProgramVariant": "return grad logit",
    "Request": "scalars: loss",
    "LoweredRequest": "return loss",
    "Schedule": "rows_",
    "EmittedSource": "def rows_",
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_stage_prints_itself(stages, name):
    assert SHOWN[name] in str(stages[name])


def test_the_page_names_the_stages_in_order(stages):
    text = PAGE.read_text(encoding="utf-8")
    places = [text.index(f"`{name}`") for name in stages]
    assert list(stages) == list(SHOWN) and places == sorted(places)


def test_the_page_names_the_calls():
    text = PAGE.read_text(encoding="utf-8")
    for call in ("trace_model", "analyse", "plan_estimators", "build_variant", "make_request", "lower", "fuse", "emit"):
        assert f"`{call}`" in text and callable(getattr(pipeline, call))
