"""`ppl.autoguide`: a guide that is written from a model.

A guide is an ordinary model. When it is traced, it traces the model with the same arguments, reads its latents (name,
plates, shape, support), and samples each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ppl.arguments import choice, shown
from ppl.errors import ModelError
from ppl.inference.guides.kinds import FlowNormal, FullNormal, GuideKind, LowRankNormal, MeanField, Point, Structured
from ppl.inference.guides.laplace import Laplace, UnconstrainedPoint, approximate_posterior
from ppl.inference.guides.latents import make_latent, trace_model_in_guide
from ppl.inference.guides.parameters import GuideParameters, check_encoder, check_rows
from ppl.ir.node import Node
from ppl.lang.context import require_context
from ppl.lang.model import Model
from ppl.lang.plate import reopen_plates

GUIDE_KINDS: dict[str, type[GuideKind]] = {
    "normal": MeanField,
    "mvn": FullNormal,
    "low_rank": LowRankNormal,
    "structured": Structured,
    "flow": FlowNormal,
    "delta": Point,
    "laplace": UnconstrainedPoint,
}


class AutoGuide(Model):
    """A guide that samples the latents of `base`; with `outside` only those outside of plates over data."""

    def __init__(
        self,
        base: Model,
        kind: str,
        rows: Mapping[str, int],
        encoder: Callable[..., Any] | None,
        outside: bool = False,
    ):
        super().__init__(_guide_function(base, GUIDE_KINDS[kind], rows, encoder, outside), base.static)
        self.base, self.kind, self.rows, self.encoder, self.only_outside = base, kind, dict(rows), encoder, outside
        self.name = f"autoguide({base.name})"

    def bind(self, **static: Any) -> AutoGuide:
        """Return the guide of the model with keyword-only arguments set."""
        return AutoGuide(self.base.bind(**static), self.kind, self.rows, self.encoder, self.only_outside)

    @property
    def outside(self) -> AutoGuide:
        """The guide of the latents outside of plates over data, with the same parameters.

        In `ppl.predictive(model, guide.outside)` latents of rows come from the model, given the others: those of new
        rows, for which there are no parameters.
        """
        return AutoGuide(self.base, self.kind, self.rows, self.encoder, True)

    def normal(self, program: Any, state: Any, *data: Any) -> Laplace:
        """Laplace's approximation of the posterior, by a guide of kind "laplace".

        Parameters
        ----------
        program : of `ppl.elbo(model, guide)` with this guide.
        state : after a fit, near the mode; Newton's steps lead there.
        data : all rows.

        Returns
        -------
        Laplace
            A guide of kind "mvn", its parameters, and the approximate log-evidence. Hessians are exact, by a
            `program.hvp` for each of the reals.

        Raises
        ------
        ModelError
            The guide is of another kind, or has no latents.
        DataError
            The program has another guide, or the curvature is not positive at the state.
        """
        if self.kind != "laplace":
            raise ModelError(
                f"normal: the guide is of kind '{self.kind}', Laplace's approximation is that of 'laplace'"
            )
        return approximate_posterior(self, lambda: autoguide(self.base, "mvn"), program, state, data)

    def __repr__(self) -> str:
        return f"autoguide({self.base!r}, {self.kind!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return AutoGuide, (self.base, self.kind, self.rows, self.encoder, self.only_outside)


def autoguide(
    model: Model,
    kind: str = "normal",
    rows: Mapping[str, int] | None = None,
    encoder: Callable[..., Any] | None = None,
) -> AutoGuide:
    """Return a guide of the model's latents, by bijectors from the reals onto their supports.

    Parameters
    ----------
    model : a model whose latents are continuous.
    kind : which law.

        - "normal": independent normals (von Mises of angles).
        - "mvn": one normal with a full covariance of all latents outside of plates over data, independent normals in
          these.
        - "low_rank": the same with a covariance of low rank, about the root of their number, plus a diagonal.
        - "flow": the same by a normalizing flow, two inverse autoregressive layers.
        - "structured": "mvn", and in plates over data normals whose means are linear in the latents outside, with the
          same slope in all rows.
        - "laplace": a point of the reals. After a fit `guide.normal(program, state, *data)` is Laplace's approximation.
        - "delta": a point, so that `ppl.elbo` is a maximum a posteriori fit.
    rows : {plate: N}: how many rows the whole data set has in a plate over data. A latent there has a table of
        parameters with a row for each, read at `ppl.row_index(plate)`; minibatches read the rows that they have.
    encoder : in place of such tables, a function of data arguments (by their names, called in the plate with their
        rows) that returns (loc, log_scale) of the reals of a row's latent, or {name: (loc, log_scale)} of several.

    Returns
    -------
    AutoGuide
        A model with the model's arguments, for `ppl.elbo`, `ppl.iwae` and `ppl.predictive`. Its parameters are named
        "guide/<latent>/loc" and so on ("guide/loc" for all latents together), and are those of the reals. Where the
        reals are no latents themselves, they are nodes named "guide/<latent>" ("guide" for all together).

    Raises
    ------
    OptionError
        There is no such kind.
    ModelError
        A latent is discrete, masked, or on a support without a bijector; it stands in a plate over data and neither
        `rows` nor an encoder say what its parameters are; when the guide is traced.
    """
    if not isinstance(model, Model):
        raise ModelError(f"autoguide: the model is a function decorated with @ppl.model, not {shown(model)}")
    choice("autoguide: kind", kind, tuple(GUIDE_KINDS))
    return AutoGuide(model, kind, check_rows(rows), check_encoder(encoder))


def _guide_function(
    base: Model, kind: type[GuideKind], rows: Mapping[str, int], encoder: Callable[..., Any] | None, outside: bool
) -> Callable[..., Any]:
    """Return the function of a guide of a model."""

    @functools.wraps(base.function)
    def function(*args: Any, **static: Any) -> None:
        context = require_context("ppl.autoguide")
        if context.plates or context.loops:
            raise ModelError(f"autoguide of '{base.name}': call it outside of plates and loops, which it opens itself")
        trace = trace_model_in_guide(base, args, static)
        parameters = GuideParameters(rows, encoder, trace)
        parameters.arguments = dict(zip(base.arguments, args, strict=False))
        law, sites = kind(parameters), trace.random_sites()
        if outside:
            sites = [site for site in sites if all(a.size is not None for a in site.axes)]
        law.begin([make_latent(site, {}) for site in sites])
        sampled: dict[Node, Node] = {}
        for site in sites:
            latent = make_latent(site, sampled)
            with reopen_plates(latent.plates):
                value = law.sample(latent)
            assert site.node is not None
            sampled[site.node] = value.node
            context.trace.sites[context.full_name(latent.name)].where = site.where

    function.__signature__ = inspect.signature(base.function)  # type: ignore[attr-defined]
    return function
