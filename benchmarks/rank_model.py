"""A model of the time of a training step on many ranks: computation, messages, bytes; not a measurement.

The exchange is that of `ppl.ranks.communicator`: one row of numbers from every rank, then each rank adds up a share of
the entries (R - 1 messages in, R - 1 out) and all gather the shares; of tables, rows and sums of all ranks.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Network(NamedTuple):
    """Seconds of a message, and bytes a second in and out of a rank."""

    name: str
    latency: float
    bandwidth: float


class Load(NamedTuple):
    """A model of the suite: parameters of the dense exchange, and entries of tables that a rank touches in a step."""

    code: str
    parameters: int
    touched: int = 0


NETWORKS = (
    Network("InfiniBand 200 Gb/s", 2e-6, 22e9),
    Network("Ethernet 25 Gb/s", 15e-6, 2.8e9),
    Network("Ethernet 10 Gb/s", 30e-6, 1.15e9),
)
RANKS = (2, 4, 16, 64, 256, 1024)
MEMORY = 20e9
"""Bytes a second at which a rank adds up vectors."""
HEAD = 64
"""Bytes that a rank says of a step."""
LOADS = (
    Load("W2", 1_000_000),
    Load("W3", 784 * 200 * 2 + 200 * 200 * 2 + 3 * 200 + 784 + 200),
    Load("W3d", 784 * 200 * 2 + 200 + 784 + 200),
    Load("W4", (785 * 400) + (401 * 40) + (21 * 400) + (401 * 784)),
    Load("W4g", (785 * 256) + (257 * 200) + (201 * 256) + (257 * 784)),
    Load("W5", 784 * 500 + 784 + 500),
    Load("W6", 0, 1024 * 7 * 101),
    Load("W8", 100_000),
)


BACKWARD = 2 / 3
"""The part of a step's computation behind which gradients could travel, at most: all of the backward pass."""


def exchange(load: Load, network: Network, ranks: int) -> float:
    """Seconds of the exchange of one step."""
    if ranks == 1:
        return 0.0
    head = math.ceil(math.log2(ranks)) * network.latency + ranks * HEAD / network.bandwidth
    if load.touched:
        given = 4 * load.touched * (ranks - 1)
        return head + 3 * (ranks - 1) * network.latency + given / network.bandwidth + 2 * given / MEMORY
    bytes_ = 4 * load.parameters
    moved = 2 * bytes_ * (ranks - 1) / ranks
    return head + 2 * (ranks - 1) * network.latency + moved / network.bandwidth + 2 * bytes_ / MEMORY


def weak(load: Load, seconds: float, network: Network, ranks: int, accumulate: int = 1) -> float:
    """Efficiency where every rank has the rows of one rank: time of a minibatch alone over that among `ranks`.

    With tables, `accumulate` minibatches touch as many times the rows.
    """
    load = load._replace(touched=accumulate * load.touched)
    return seconds / (seconds + exchange(load, network, ranks) / accumulate)


def overlapped(load: Load, seconds: float, network: Network, ranks: int) -> float:
    """A bound of `weak`, were gradients sent while those of earlier layers are computed.

    All that travels is taken to be hidden, as far as the backward pass lasts; heads, which end a step, and adding up,
    which a core has to do, are not. Tables send what they send after the step.
    """
    if load.touched or ranks == 1:
        return weak(load, seconds, network, ranks)
    bytes_ = 4 * load.parameters
    travels = 2 * (ranks - 1) * network.latency + 2 * bytes_ * (ranks - 1) / ranks / network.bandwidth
    return seconds / (seconds + exchange(load, network, ranks) - min(travels, BACKWARD * seconds))


def strong(load: Load, seconds: float, network: Network, ranks: int) -> float:
    """Speed-up where a minibatch is cut into parts; passes over the parameters are not cut."""
    fixed = min(seconds, 6 * 4 * load.parameters / MEMORY)
    return seconds / (fixed + (seconds - fixed) / ranks + exchange(load, network, ranks))


def enough(load: Load, seconds: float, network: Network, ranks: int, efficiency: float = 0.8) -> int | None:
    """The least `accumulate` at which weak scaling has this efficiency; None for tables, whose rows grow with it."""
    if load.touched:
        return None
    return max(1, math.ceil(exchange(load, network, ranks) * efficiency / (1.0 - efficiency) / seconds))
