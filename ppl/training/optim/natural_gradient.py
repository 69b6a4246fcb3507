"""Natural gradients for exponential-family nodes of a guide: eta ← eta - lr F⁻¹ ∇L, F the Fisher information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import names, shown, step_count
from ppl.distributions.families.family import FAMILIES
from ppl.distributions.families.fit import LogPartition
from ppl.errors import DataError, OptionError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node, make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang.params import CONSTRAINTS
from ppl.lang.trace import Param, Site, Trace
from ppl.runtime.prepared import require_program
from ppl.runtime.state import Layout
from ppl.training.optim.schedules import Rate, check_rate, rate_at

ELEMENTWISE_CONSTRAINTS = (None, "positive", "unit_interval")

MOST_HALVINGS = 60


class NaturalGradient:
    """The natural gradient (Amari 1998) in the natural parameters of nodes of exponential families.

    The gradient in natural parameters times the inverse Fisher information equals the plain gradient in the mean
    parameters. The step is taken in natural parameters and mapped back; a step that would leave the family is halved
    until it does not. The step follows the loss over all rows, not the loss per row. So one step of rate 1 with an
    exact gradient solves a conjugate model (Hoffman, Blei, Wang & Paisley 2013).

    A model with other parameters takes a dict of globs: {"q/*": NaturalGradient(program), "*": Adam(1e-3)}.

    Parameters
    ----------
    program : the program that will be trained; its trace says which parameters make up which node.
    lr : float or schedule.
    nodes : names of the nodes; by default all that fit.
    data : example data, in the order of the program's arguments, if it has not been compiled with any.

    Raises
    ------
    OptionError
        A named node is not of a minimal exponential family, or lies in a plate. Or a parameter of its distribution is
        not a `ppl.param` of the node's shape that this node alone uses, with no constraint, "positive" or
        "unit_interval". At the first step: the optimizer is given other parameters than those of the nodes.
    """

    def __init__(self, program: Any, lr: Rate = 1.0, nodes: Sequence[str] | None = None, data: Sequence[Any] = ()):
        check_rate("NaturalGradient", lr)
        lr = lr if callable(lr) else float(lr)
        require_program("NaturalGradient", program)
        if not isinstance(data, (tuple, list)):
            raise OptionError(f"NaturalGradient: data must be a tuple of arrays, not {shown(data)}")
        nodes = None if nodes is None else names("NaturalGradient: nodes", nodes)
        trace: Trace = program.prepare(*data).trace
        sites = {s.name: s for s in trace.random_sites()}
        unknown = sorted(set(nodes or ()) - set(sites))
        if unknown:
            raise OptionError(f"NaturalGradient: no random node named {unknown}; the program has {sorted(sites)}")
        found: dict[str, _NaturalNode] = {}
        for name in sites if nodes is None else nodes:
            refused = _why_unsuitable(sites[name], trace)
            if refused is None:
                found[name] = _NaturalNode(sites[name], trace)
            elif nodes is not None:
                raise OptionError(f"NaturalGradient: node '{name}' {refused}")
        if not found:
            raise OptionError("NaturalGradient: the program has no node that fits; name one to be told why")
        self.lr, self.blocks = lr, found

    def apply(
        self, flat: np.ndarray, grad: np.ndarray, opt: Any, layout: Layout, step: int, scale: float = 1.0
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Take one step on flat vectors; `scale`, by which losses become losses per row, is left out."""
        self.check(opt, flat, layout)
        params, grads = layout.split(flat.astype(np.float64)), layout.split(grad.astype(np.float64))
        moved: dict[str, np.ndarray] = {}
        for block in self.blocks.values():
            moved.update(block.step(params, grads, rate_at(self.lr, step, "NaturalGradient")))
        return layout.join(moved, flat.dtype), {"t": 1 + (0 if opt is None else int(opt["t"]))}

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise OptionError unless the parameters are those of the nodes, DataError unless `opt` is a state of this."""
        wanted = {p for block in self.blocks.values() for p in block.names}
        given = {name for name, _ in layout.shapes}
        if given != wanted:
            raise OptionError(
                f"NaturalGradient moves {sorted(wanted)}, not {sorted(given ^ wanted)}: give it those parameters "
                "alone, and the others an optimizer of their own, in a dict of globs"
            )
        if opt is not None and not (isinstance(opt, Mapping) and opt.keys() == {"t"}):
            raise DataError(
                "NaturalGradient: the state is another optimizer's; start afresh with state.replace(opt=None)"
            )
        if opt is not None:
            step_count("NaturalGradient: the optimizer state's t", opt["t"], DataError)


def _why_unsuitable(site: Site, trace: Trace) -> str | None:
    """Say why a node does not fit, or return None."""
    dist = site.dist
    assert dist is not None
    family = FAMILIES.get(type(dist))
    if family is None or not family.minimal:
        return f"is a {type(dist).__name__}, which is no exponential family with independent statistics here"
    if site.axes:
        return f"lies in the plate '{site.axes[0].name}': its parameters would be shared by every row"
    fixed, eta = family.fixed(dist), family.natural(dist)
    if fixed:
        return f"is a {type(dist).__name__}, whose {', '.join(fixed)} would have to be fixed"
    given, natural = (sum(node.type.event_size for node in nodes) for nodes in (dist.params.values(), eta))
    if given != natural:
        return f"is given by {given} numbers, its family by {natural}"
    usual = family.usual(*eta)
    if set(usual) != set(dist.params):
        return f"is given by {', '.join(dist.params)}; give {', '.join(usual)} instead"
    for name, node in dist.params.items():
        param = _param_of_value(node, trace)
        if param is None or param.shape != node.type.shape or param.constraint not in ELEMENTWISE_CONSTRAINTS:
            kinds = 'no constraint, "positive" or "unit_interval"'
            return f"has a {name} that is not itself a ppl.param of shape {node.type.shape} with {kinds}"
        users = [s.name for s in trace.sites.values() if s.dist is not None and _reads_param(s, param)]
        if users != [site.name]:
            return f"shares its parameter '{param.name}' with {sorted(set(users) - {site.name})}"
    return None


def _reads_param(site: Site, param: Param) -> bool:
    """Return whether the node's own distribution reads a parameter, other than through samples."""
    assert site.dist is not None
    ahead, seen = list(site.dist.params.values()), set()
    while ahead:
        node = ahead.pop()
        if node is param.node:
            return True
        if id(node) not in seen and node.op != "sample":
            seen.add(id(node))
            ahead.extend(node.args)
    return False


def _param_of_value(node: Node, trace: Trace) -> Param | None:
    return next((p for p in trace.params.values() if p.value is node), None)


class _NaturalNode:
    """One node: its parameters, its family, and the Jacobian of natural in unconstrained parameters, per unit."""

    def __init__(self, site: Site, trace: Trace):
        dist = site.dist
        assert dist is not None
        self.owner = {name: _param_of_value(node, trace) for name, node in dist.params.items()}
        self.names = [p.name for p in self.owner.values() if p is not None]
        self.family = family = FAMILIES[type(dist)]
        leaves = {name: make("param", name=name, shape=node.type.shape) for name, node in dist.params.items()}
        raw = list(leaves.values())
        inside = tuple(self._forward(name, leaf) for name, leaf in leaves.items())
        self.eta = family.natural(dist.with_params(inside))
        self.calculus = LogPartition(type(dist), tuple(e.type.shape for e in self.eta))
        if family.rank:
            units = np.eye(self.eta[0].type.shape[-1])
            rows = [gradient(ops.reduce_sum(ops.mul(self.eta[0], u)), raw)[0] for u in units]
            self.jacobian = [[ops.reduce_sum(ops.mul(row, u), -1) for u in units] for row in rows]
        else:
            self.jacobian = [gradient(ops.reduce_sum(e), raw) for e in self.eta]

    def _forward(self, name: str, leaf: Node) -> Node:
        param = self.owner[name]
        assert param is not None
        return CONSTRAINTS[param.constraint].forward(leaf, param.shape) if param.constraint else leaf

    def step(self, params: dict[str, np.ndarray], grads: dict[str, np.ndarray], rate: float) -> dict[str, np.ndarray]:
        """Return new unconstrained parameters by name."""
        env = Env(params={own: params[p.name] for own, p in self.owner.items() if p is not None}, dtype=np.float64)
        k = len(self.jacobian)
        values = evaluate([*self.eta, *(n for row in self.jacobian for n in row)], env)
        eta = self.calculus.join(values[: len(self.eta)])
        flat = values[len(self.eta) :]
        jacobian = np.stack([np.stack(flat[i * k : (i + 1) * k], -1) for i in range(k)], -2)
        slope = [grads[name] for name in self.names]
        g = slope[0] if self.family.rank else np.stack(slope, -1)
        in_eta = np.linalg.solve(np.swapaxes(jacobian, -1, -2), g[..., None])
        move = np.linalg.solve(self.calculus.fisher(eta), in_eta)[..., 0]
        return self._back(self._inside(eta, -rate * move))

    def _inside(self, eta: np.ndarray, move: np.ndarray) -> np.ndarray:
        """Return eta + move, halved per unit until it lies in the family."""
        for _ in range(MOST_HALVINGS):
            ok = self.calculus.inside(eta + move)
            if ok.all():
                return eta + move
            move = np.where(ok[..., None], move, 0.5 * move)
        return eta

    def _back(self, eta: np.ndarray) -> dict[str, np.ndarray]:
        usual = self.family.usual(*self.calculus.leaves)
        values = self.calculus.evaluate(eta, list(usual.values()))
        out = {}
        for name, value in zip(usual, values, strict=True):
            param = self.owner[name]
            assert param is not None
            out[param.name] = CONSTRAINTS[param.constraint].inverse(value) if param.constraint else value
        return out
