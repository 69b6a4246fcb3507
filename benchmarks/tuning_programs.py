"""Thresholds of `ppl.tuning` that programs are compiled or cut into slabs by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import ppl
from benchmarks.data import bits
from benchmarks.tuning import Question, around, assumed, crossover, sweep
from ppl import Normal
from ppl.compiler.lower.target import NEVER
from ppl.models import vae

ROWS = 256


@ppl.model
def layer(x: Any, *, units: int) -> None:
    """One dense layer."""
    with ppl.plate("data", x) as x:
        ppl.cost("squares", np.sum(np.tanh(ppl.dense("layer", x, units)) ** 2))


@ppl.model
def draws(x: Any) -> None:
    """Noise and elementary functions, no products."""
    scale = ppl.param("scale", np.ones(32))
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(x, np.exp(scale)))
        ppl.cost("c", np.sum(np.log1p(np.exp(z)) * z))


def gradient(model: Any, x: np.ndarray, **groups: Any) -> Callable[[], object]:
    """A call of loss and gradients of a program that was compiled for such a machine."""
    with assumed(**groups):
        program = ppl.compile(model, data=ppl.spec((None, *x.shape[1:]), np.float32))
        state = program.init(0, x)
        program.value_and_grad(state, x)
    return lambda: program.value_and_grad(state, x)


def numbers(rows: int, columns: int) -> np.ndarray:
    """Data."""
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


def digits(**groups: Any) -> Callable[[], object]:
    """The VAE 784-400-20 on 100 rows."""
    sizes = {"latent": 20, "hidden": 400}
    return gradient(ppl.elbo(vae.generative.bind(**sizes), vae.guide.bind(**sizes)), bits()[:100], **groups)


def questions() -> Iterator[Question]:
    """Times around each number."""
    yield crossover(
        "PRODUCT_SIZE", f"layers of so many multiplications a row, {ROWS} rows, one slab",
        lambda size: tuple(
            gradient(layer.bind(units=size // 32), numbers(ROWS, 32), rewrites={"product": limit}, sharing={"most": 1})
            for limit in (NEVER, 1)
        ),
        around("PRODUCT_SIZE", 0.25, 0.5, 1, 2, 4),
    )  # fmt: skip
    yield sweep("PRODUCT_TILE_BYTES", "gradients of a VAE 784-400-20, 100 rows, one slab",
                lambda size: digits(buffers={"product_tile": size}, sharing={"most": 1}),
                around("PRODUCT_TILE_BYTES"))  # fmt: skip
    yield sweep("PRODUCT_ROWS", "gradients of a VAE 784-400-20, 100 rows",
                lambda rows: digits(sharing={"product_rows": rows}),
                around("PRODUCT_ROWS", 0.25, 0.5, 1, 2), shared=True)  # fmt: skip
    yield sweep("STREAM_TILE_BYTES", "32 normal units and elementary functions, 20,000 rows, one slab",
                lambda size: gradient(draws, numbers(20_000, 32), buffers={"stream_tile": size}, sharing={"most": 1}),
                around("STREAM_TILE_BYTES"))  # fmt: skip
    yield crossover("SLAB_OPERATIONS", "operations of each of two slabs: 32 normal units, in one slab and in two",
                    two_slabs, around("SLAB_OPERATIONS"), shared=True)  # fmt: skip
    yield crossover(
        "OWNED_GRADIENT", f"entries of a layer's gradient, {ROWS} rows: accumulated by slabs, by shares",
        lambda size: tuple(
            gradient(layer.bind(units=size // 128), numbers(ROWS, 128), sharing={"owned": limit})
            for limit in (NEVER, 1)
        ),
        around("OWNED_GRADIENT"),
        shared=True,
    )  # fmt: skip


def two_slabs(operations: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A call of about so many operations for each of two slabs, in one slab and in two."""
    rows = max(16, round(2 * operations / operations_of_a_row()))
    one, two = (
        gradient(draws, numbers(rows, 32), sharing={"most": most, "operations": 1, "sums": 1, "plain_rows": 1})
        for most in (1, 2)
    )
    return one, two


def operations_of_a_row() -> float:
    """Operations that slabs are counted by, of one row of `draws`."""
    program = ppl.compile(draws, data=ppl.spec((None, 32), np.float32))
    flops = program.prepare().executable("gradient", (), 1).flops
    sizes = dict.fromkeys(flops.names, 1000)
    return float(flops.evaluate(sizes)) / 1000
