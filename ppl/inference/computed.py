"""Which deterministic sites `program.posterior` shows: those that see latents, parameters and data alone."""

from __future__ import annotations

from ppl.errors import DataError
from ppl.inference.steps import steps_named
from ppl.ir.node import Node, topological
from ppl.lang.trace import Site, SiteKind, Trace


def is_computed(trace: Trace, name: str) -> bool:
    """Whether a site is a deterministic one that sees no draw of an observation.

    Raises
    ------
    DataError
        It is deterministic, and sees one.
    """
    group = [trace.sites[step] for step in steps_named(trace, name) if step in trace.sites]
    if not group or any(site.kind is not SiteKind.DETERMINISTIC for site in group):
        return False
    drawn = {id(s.returned): s.name for s in trace.sites.values() if s.returned is not None}
    for node in topological([_outside(site) for site in group]):
        if id(node) in drawn:
            raise DataError(
                f"posterior: '{name}' is computed from what ppl.sample returned for the observation "
                f"'{drawn[id(node)]}': program.predict draws both"
            )
    return True


def _outside(site: Site) -> Node:
    """The value of a site, with all that its loops compute it from."""
    assert site.node is not None
    node, scan = site.node, site.scan
    while scan is not None:
        node, scan = scan.seen(node), scan.outer
    return node
