"""The matrix products of one sigmoid-belief-network step, and their time in NumPy.

Inference net 784-200-200, generative net 200-200-784, batch 100, 2 particles (200 rows from the first
sampled layer on), leave-one-out score function: no gradient passes through a unit, so that backward there
are only weight gradients. Both particles share ``x``, so its products have 100 rows. ``python -m
benchmarks.sbn_products`` prints the times.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.machine import Product, ProductTimes, call_of, product_times

PRODUCTS = (
    Product(100, 784, 200, label="x @ W1"),
    Product(200, 200, 200, label="h1 @ W2"),
    Product(200, 200, 200, label="h2 @ V2"),
    Product(200, 200, 784, label="h1 @ V1"),
    Product(784, 100, 200, transposed="a", label="dW1 = x.T @ g1"),
    Product(200, 200, 200, transposed="a", label="dW2 = h1.T @ g2"),
    Product(200, 200, 200, transposed="a", label="dV2 = h2.T @ r2"),
    Product(200, 200, 784, transposed="a", label="dV1 = h1.T @ r1"),
)


def times(repeats: int = 300) -> ProductTimes:
    """Return the median seconds of each product and of all eight, in float32."""
    return product_times(PRODUCTS, repeats=repeats)


def runner() -> Callable[[], None]:
    """Return a function that does all eight products once, on operands made beforehand."""
    calls = [call_of(product, "float32", seed) for seed, product in enumerate(PRODUCTS)]

    def run() -> None:
        for call in calls:
            call()

    return run


def main() -> None:
    """Print the products with their times and rates."""
    measured = times()
    for product, seconds in zip(PRODUCTS, measured.each, strict=True):
        _print_row(product.label, product.flops, seconds)
    _print_row("sum", sum(product.flops for product in PRODUCTS), measured.total)


def _print_row(label: str, flops: int, seconds: float) -> None:
    """Print a label, a time and a rate."""
    print(f"{label:16} {seconds * 1e6:8.1f} us {flops / seconds / 1e9:7.1f} Gflop/s")


if __name__ == "__main__":
    main()
