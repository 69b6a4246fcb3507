"""Training in PyTorch by leave-one-out, REBAR and DisARM: parameters after given seconds of the processor.

The models and estimators are those of `estimators_torch`, the loss compiled by PyTorch, Adam fused, on one thread. It
needs torch and numpy, and nothing of ppl::

    python benchmarks/peers/curves_torch.py start.npz DisARM --seeds 5 --out end.npz

with `model` ("sbn" or "vae"), the rows `x`, the seconds `marks`, `batch`, `rate` and by seed `SEED/NAME`, the first
parameters, in start.npz. end.npz has, by seed, `SEED/NAME`: marks × the parameter's shape; and `SEED/waited`: seconds
of compiling and of the first step, which is not kept.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from estimators_torch import SBN, VAE, Params

ESTIMATORS: dict[str, Callable[[SBN | VAE], Tensor]] = {
    "leave-one-out, 4 particles": lambda model: model.leave_one_out(4),
    "REBAR": lambda model: model.rebar(),
    "DisARM": lambda model: model.disarm(),  # type: ignore[union-attr]
}
Arrays = dict[str, np.ndarray]


def batches(x: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Minibatches without end, the rows shuffled for every pass."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(x), generator=generator).split(size):
            if len(rows) == size:
                yield x[rows]


def train(surrogate: Callable[[Params, Tensor], Tensor], start: Params, rows: Iterator[Tensor], rate: float,
          marks: Sequence[float]) -> tuple[Arrays, float]:  # fmt: skip
    """Parameters at the marks, and the seconds of a first step from the same parameters."""
    params = {name: value.clone().requires_grad_() for name, value in start.items()}
    adam = torch.optim.Adam(list(params.values()), lr=rate, fused=True)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        surrogate(params, next(rows)).backward()
        adam.step()

    began = time.process_time()
    step()
    waited = time.process_time() - began
    with torch.no_grad():
        for name, value in params.items():
            value.copy_(start[name])
    adam = torch.optim.Adam(list(params.values()), lr=rate, fused=True)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in params}
    began = time.process_time()
    for mark in marks:
        while time.process_time() - began < mark:
            step()
        for name, value in params.items():
            kept[name].append(value.detach().numpy().copy())
    return {name: np.array(values) for name, values in kept.items()}, waited


def main(argv: Sequence[str] | None = None) -> int:
    """Train from every seed's parameters; write those at the marks."""
    parser = argparse.ArgumentParser(description="Training curves of gradient estimators in PyTorch.")
    parser.add_argument("start", help=".npz with model, x, marks, batch, rate and SEED/NAME")
    parser.add_argument("estimator", choices=list(ESTIMATORS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    with np.load(options.start) as file:
        given: Mapping[str, np.ndarray] = {name: file[name] for name in file.files}
    kind, estimate = {"sbn": SBN, "vae": VAE}[str(given["model"])], ESTIMATORS[options.estimator]
    generator = torch.default_generator  # a compiled graph takes no other

    def surrogate(params: Params, x: Tensor) -> Tensor:
        return estimate(kind(params, x, {}, generator)) / len(x)

    compiled, out = torch.compile(surrogate), Arrays()
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        start = {k.partition("/")[2]: torch.tensor(v) for k, v in given.items() if k.startswith(f"{seed}/")}
        rows = batches(torch.tensor(given["x"]), int(given["batch"]), seed)
        kept, waited = train(compiled, start, rows, float(given["rate"]), list(given["marks"]))
        out |= {f"{seed}/{name}": values for name, values in kept.items()} | {f"{seed}/waited": np.array(waited)}
    np.savez(options.out, **out)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
