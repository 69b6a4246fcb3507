"""Models to draw from, without a loss: the prior predictive, or the predictive of a guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl.lang.model import Model
from ppl.lang.trace import Trace
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives.base import guide_arguments, require_models
from ppl.objectives.elbo import require_model_sites


class Predictive:
    """Draws of a model, its latents from the guide where there is one; there is no loss."""

    def __init__(self, model: Model, guide: Model | None = None):
        require_models("predictive", model=model, **({} if guide is None else {"guide": guide}))
        self.model = model
        if guide is not None:
            self.guide = guide

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments, then those that only the guide takes."""
        guide = getattr(self, "guide", None)
        return self.model.arguments if guide is None else guide_arguments(self.model, guide)

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the model, on the guide's values if there is one; what it says of costs does not count."""
        guide = getattr(self, "guide", None)
        if guide is None:
            trace = trace_model(self.model, arguments)
        else:
            trace = trace_model(guide, arguments, allow_obs=False)
            latents = {s.name: s for s in trace.random_sites()}
            trace_model(self.model, arguments, into=trace, substitute=latents)
            require_model_sites("predictive", self.model, latents, trace)
        trace.costs.clear()
        trace.factors.clear()
        trace.predictive = True
        return trace


@keywords
def predictive(model: Model, guide: Model | None = None) -> Predictive:
    """An objective for `sample` and `predict` alone: draws of a model, all observations redrawn.

    Without a guide latents are drawn from the model: the prior predictive. With one they are drawn from it, as
    `predict` of `ppl.elbo(model, guide)` does; those that it lacks are drawn from the model given the others, such as
    the effects of new groups given what all groups share. Data that are only observed may be None (see
    `Program.predict`). Factors and costs of the model do not weigh on what is drawn.

    Raises
    ------
    ModelError
        A latent of the guide is not in the model, or differs from it. A call that needs a loss (`value`, `ppl.fit`,
        ...) is refused.
    """
    return Predictive(model, guide)
