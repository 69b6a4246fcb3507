"""Looking inside a program: plan, graph, IR at every stage, emitted source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppl.arguments import text
from ppl.compiler.plan.plan import Plan
from ppl.errors import DataError
from ppl.ir.show import show
from ppl.notebook.graph_picture import to_svg
from ppl.notebook.html import titled_block
from ppl.runtime.prepared import PreparedProgram

if TYPE_CHECKING:
    import networkx as nx
else:
    from ppl.lazy import networkx as nx


class Inspection(PreparedProgram):
    """The part of a Program that shows what the compiler did."""

    def explain(self, *data: Any) -> Plan:
        """The plan: for each random node the estimator, the reason, and why others were rejected.

        It prints as a table and indexes as data: `program.explain()["b"].estimator`. `data` is needed only if the
        program was compiled without example data.
        """
        compiled = self.prepare(*data)
        return replace(compiled.plan, regions=compiled.executable("gradient").regions)

    @property
    def graph(self) -> nx.DiGraph:
        """The stochastic computation graph with the chosen estimators as node attribute `estimator`."""
        compiled = self.prepare()
        graph = compiled.graph.networkx.copy()
        for name, choice in compiled.plan.choices.items():
            graph.nodes[name]["estimator"] = choice.estimator.label
        return graph

    def _repr_html_(self) -> str:
        """The graph and the plan, once data have been seen."""
        if self.argument_names and self._latest is None:
            return titled_block(repr(self))
        return titled_block(repr(self), str(to_svg(self.graph)), self.explain()._repr_html_())

    @property
    def source(self) -> str:
        """The emitted Python source of the gradient program."""
        return self.prepare().executable("gradient").source

    def ir(self, stage: str = "simplify") -> str:
        """The gradient program's IR after "trace", "expand", "differentiate", "simplify" or "schedule"."""
        text("stage", stage)
        compiled = self.prepare()
        if stage == "trace":
            return str(compiled.trace)
        if stage == "schedule":
            return str(compiled.executable("gradient").schedule) or "one straight-line function: see program.source"
        stages = compiled.variant("gradient").stages
        if stage not in stages:
            raise DataError(f"no stage {stage!r}; stages: trace, {', '.join(stages)}, schedule")
        return show(list(stages[stage].values()), list(stages[stage]))
