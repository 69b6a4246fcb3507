"""A random site as variables: what is summed and what is integrated, and the site's value as a function of them.

A finite or countable site is one variable over the joint states of its units. A continuous unit is one normal variable
t of its own, and its value the quantile at Phi(t). A mixture is a choice and one t per unit. Rows of a plate that a
cost couples count as units of one site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppl.lang.trace import Site
from tests.oracle.exact import families, tables
from tests.oracle.exact.errors import TooLarge, Unsupported
from tests.oracle.exact.layout import Layout

Array = np.ndarray
STATES = 20_000


@dataclass(eq=False)
class SiteVariables:
    """The variables of one site: position of the table (or choice), and of every continuous unit.

    `joint`: plates whose rows are units here, with their sizes.
    """

    site: Site
    joint: tuple[tuple[str, int], ...] = ()
    table: int | None = None
    units: list[int] = field(default_factory=list)
    states: Array | None = None
    digits: Array | None = None

    @property
    def name(self) -> str:
        """The site's name."""
        return self.site.name

    @property
    def kind(self) -> str:
        """The distribution's class."""
        return type(self.site.dist).__name__

    @property
    def coupled(self) -> bool:
        """Whether the value is a function of variables whose weights do not move: then a frozen copy has a meaning."""
        return self.table is None and self.kind not in ("VonMises", "Dirichlet")

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the units: coupled rows first."""
        dist: Any = self.site.dist
        return (*(n for _, n in self.joint), *dist.batch_of_units)


def count_variables(site: Site, joint: tuple[tuple[str, int], ...]) -> int:
    """How many variables the site takes."""
    made = SiteVariables(site, joint)
    if tables.is_discrete(site.dist):
        return 1
    return _units(made) + (made.kind == "Mixture")


def _units(made: SiteVariables) -> int:
    """Continuous variables."""
    dist: Any = made.site.dist
    count = int(np.prod(made.batch))
    if made.kind == "MultivariateNormal":
        return count * dist.event_shape[-1]
    if made.kind == "Dirichlet":
        return count * (dist.event_shape[-1] - 1)
    if dist.unit_rank or getattr(dist, "joint", 0):
        raise Unsupported(f"distribution {made.kind} of vectors")
    return count


def make(site: Site, joint: tuple[tuple[str, int], ...], layout: Layout) -> SiteVariables:
    """The site's variables at the next free positions."""
    made = SiteVariables(site, joint)
    if tables.is_discrete(site.dist):
        made.table = layout.add()
        return made
    if made.kind == "Mixture":
        made.table = layout.add()
    made.units = [layout.add() for _ in range(_units(made))]
    return made


def gathered(made: SiteVariables, layout: Layout, p: Mapping[str, Array]) -> dict[str, Array]:
    """Parameters with the coupled plates in front of the event."""
    out = dict(p)
    for plate, size in reversed(made.joint):
        out = {k: layout.to_event(v, layout.plates[plate], size) for k, v in out.items()}
    return out


def scattered(made: SiteVariables, layout: Layout, value: Array) -> Array:
    """A value whose event is led by the coupled plates, with those where plates lie."""
    for plate, _ in made.joint:
        value = layout.from_event(value, layout.plates[plate])
    return value


def fill(made: SiteVariables, p: Mapping[str, Array]) -> int:
    """Make the table of a discrete site or of a mixture's choice; its length."""
    dist: Any = made.site.dist
    if tables.is_discrete(dist):
        made.states = tables.states(dist, p)
    else:
        made.states = np.arange(tables.class_probs(p).shape[-1])
    count, n = int(np.prod(made.batch)), len(made.states)
    if count * np.log(max(n, 2)) > np.log(STATES) and n > 1:
        raise TooLarge(f"{n} ** {count} states of {made.name}")
    made.digits = np.indices((n,) * count).reshape(count, -1).T.reshape(-1, *made.batch)
    return len(made.digits)


def value(made: SiteVariables, layout: Layout, p: Mapping[str, Array], t: Mapping[int, Array]) -> Array:
    """The site's value; `t` holds the normal variables by position."""
    inner = gathered(made, layout, p)
    if made.table is not None and not made.units:
        assert made.states is not None and made.digits is not None
        return scattered(made, layout, layout.along(made.table, made.states[made.digits]))
    return scattered(made, layout, _continuous(made, layout, inner, t))


def _continuous(made: SiteVariables, layout: Layout, p: Mapping[str, Array], t: Mapping[int, Array]) -> Array:
    shape = made.batch if made.kind not in ("MultivariateNormal", "Dirichlet") else None
    columns = [t[position][..., None] for position in made.units]
    lead = np.broadcast_shapes(*(c.shape[:-1] for c in columns))
    wide = np.concatenate([np.broadcast_to(c, (*lead, 1)) for c in columns], axis=-1)
    if made.kind == "MultivariateNormal":
        return _multivariate(p, wide.reshape(*lead, *made.batch, -1))
    if made.kind == "Dirichlet":
        return _sticks(p["concentration"], wide.reshape(*lead, *made.batch, -1))
    assert shape is not None
    grid = wide.reshape(*lead, *shape)
    dist: Any = made.site.dist
    if made.kind == "Mixture":
        return _mixture(made, layout, p, grid)
    return _transport(dist, p, grid)


def _transport(dist: Any, p: Mapping[str, Array], t: Array) -> Array:
    """The quantile of a scalar law at Phi(t); an angle is t itself."""
    name = type(dist).__name__
    with np.errstate(all="ignore"):
        if name == "VonMises":
            return t
        if name == "TruncatedNormal":
            return families.truncated_quantile("Normal", p, p["low"], p["high"], t)
        if name == "Truncated":
            base = type(dist.parts["base"]).__name__
            return families.truncated_quantile(base, tables.sub(p, "base"), p["low"], p["high"], t)
        return families.quantile(name, p, t)


def _mixture(made: SiteVariables, layout: Layout, p: Mapping[str, Array], t: Array) -> Array:
    """The chosen component's value, over the choice's dimension."""
    dist: Any = made.site.dist
    assert made.digits is not None and made.table is not None
    digits, out = layout.along(made.table, made.digits), np.asarray(0.0)
    batched = list(dist.parts) == ["components"]
    for k in range(len(made.states)):  # type: ignore[arg-type]
        if batched:
            part, rank = dist.parts["components"], layout.rank + len(made.batch)
            own = {n: np.take(v, k, axis=rank) for n, v in tables.sub(p, "components").items()}
        else:
            part, own = dist.parts[f"component{k}"], tables.sub(p, f"component{k}")
        out = np.where(digits == k, _transport(part, own, t), out)
    return out


def _multivariate(p: Mapping[str, Array], e: Array) -> Array:
    if "scale_diag" in p:
        return p["loc"] + p["scale_diag"] * e
    return p["loc"] + np.einsum("...ij,...j->...i", np.tril(p["scale_tril"]), e)


def _sticks(a: Array, t: Array) -> Array:
    """A Dirichlet value by breaking a stick: betas at the quantiles of t."""
    left, pieces = np.asarray(1.0), []
    for i in range(a.shape[-1] - 1):
        share = {"concentration1": a[..., i], "concentration0": a[..., i + 1 :].sum(-1)}
        v = families.quantile("Beta", share, t[..., i])
        pieces.append(left * v)
        left = left * (1 - v)
    return np.stack(np.broadcast_arrays(*pieces, left), axis=-1)


def table_weight(made: SiteVariables, layout: Layout, p: Mapping[str, Array]) -> Array:
    """The probability of every joint state, over the table's dimension."""
    inner = gathered(made, layout, p)
    dist: Any = made.site.dist
    assert made.states is not None and made.digits is not None and made.table is not None
    if made.units:
        unit = tables.class_probs({k: v for k, v in inner.items() if k in ("weights", "logits")})
    else:
        unit = tables.probabilities(dist, inner, made.states)
    lead = unit.shape[: layout.rank]
    flat = np.broadcast_to(unit, (*lead, *made.batch, len(made.states))).reshape(*lead, -1, len(made.states))
    digits = made.digits.reshape(len(made.digits), -1)
    out = np.ones((*lead, len(digits)))
    for u in range(digits.shape[1]):
        out = out * flat[..., u, :][..., digits[:, u]]
    return np.moveaxis(out, layout.rank, made.table).reshape(
        tuple(len(digits) if i == made.table else n for i, n in enumerate(lead))
    )


def circle_weight(made: SiteVariables, layout: Layout, p: Mapping[str, Array], index: int, t: Array) -> Array:
    """The density of the `index`-th unit of a von Mises site at the angle t."""
    from scipy import stats

    inner = gathered(made, layout, p)
    flat = {k: np.broadcast_to(v, (*v.shape[: layout.rank], *made.batch)) for k, v in inner.items()}
    own = {k: v.reshape(*v.shape[: layout.rank], -1)[..., index] for k, v in flat.items()}
    return stats.vonmises.pdf(t - own["loc"], own["concentration"])
