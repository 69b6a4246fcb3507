"""The graphs of the table as PyTorch programs, with the estimators that a user of PyTorch would try. Needs torch."""

import torch

from benchmarks.regret.peers import costs, held_out, laws, loops, networks, rows
from benchmarks.regret.peers.peer import PEERS, Peer

torch.distributions.Distribution.set_default_validate_args(False)

__all__ = ["PEERS", "Peer", "costs", "held_out", "laws", "loops", "networks", "rows"]
