"""A model of the time of a step on devices, from data sheets and from what programs emit for CUDA: nothing is run.

A launch takes its own cost and the longer of two: its bytes at the rate of the memory, its operations at the rate of
float32 arithmetic. Caches, waiting, and devices that are not full are not in it: a real step takes longer."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks import cuda_programs
from benchmarks.cuda_traffic import LaunchTraffic, ProgramTraffic, account_for_call
from benchmarks.workloads.cubins import executable_of


class Device(NamedTuple):
    """What a data sheet says: bytes and float32 operations a second, and bytes of the cache of all blocks."""

    name: str
    bytes: float
    flops: float
    cache: float


DEVICES = (
    Device("A100 40 GB", 1.555e12, 19.5e12, 40e6),
    Device("H100 SXM", 3.35e12, 67e12, 50e6),
)

LAUNCH = 2.5e-6
"""Seconds of a launch: no data sheet has them, this is assumed."""

COLUMNS = ["program", "rows", "launches", "of them products", "MB", "of the least", "Gflop",
           *(f"{d.name}, µs" for d in DEVICES), *(f"{d.name}, share of launches" for d in DEVICES),
           "neighbouring threads, neighbouring entries", "workspace, MB"]  # fmt: skip

ROWS = (None, 10_000)
"""Rows of a step: those of the suite, and many."""


def seconds(launch: LaunchTraffic, device: Device) -> float:
    """The modelled time of a launch besides its own cost."""
    return max((launch.read + launch.written) / device.bytes, launch.flops / device.flops)


def modelled(found: ProgramTraffic, device: Device) -> tuple[float, float]:
    """Microseconds of a step, and the share of them that launches cost."""
    launches = LAUNCH * len(found.launches)
    total = launches + sum(seconds(x, device) for x in found.launches)
    return total * 1e6, launches / total


def row_of(name: str, made: cuda_programs.Made, rows: int) -> list[str]:
    """A row of the table."""
    executable = executable_of(made.build(), "gradient")
    found = [account_for_call(executable, rows, made.particles, device.cache) for device in DEVICES]
    times = [modelled(x, device) for x, device in zip(found, DEVICES, strict=True)]
    one = found[0]
    flops = sum(x.flops for x in one.launches)
    return [name, str(rows) if made.rows > 1 else "", str(len(one.launches)), str(one.products),
            f"{one.bytes / 1e6:.2f}", f"{one.bytes / one.least:.2f}" if one.least else "", f"{flops / 1e9:.2f}",
            *(f"{t:.0f}" for t, _ in times), *(f"{share:.0%}" for _, share in times), f"{one.beside:.1%}",
            f"{one.workspace / 1e6:.1f}"]  # fmt: skip


def run(peers: list[str]) -> dict[str, Any]:
    """Account for all programs of the suite."""
    rows = [row_of(name, made, count or made.rows) for name, made in cuda_programs.suite().items()
            for count in (ROWS if made.rows > 1 else (None,))]  # fmt: skip
    sheets = "; ".join(f"{d.name}: {d.bytes / 1e9:.0f} GB/s, {d.flops / 1e12:.1f} Tflop/s in float32, "
                       f"{d.cache / 1e6:.0f} MB of cache" for d in DEVICES)  # fmt: skip
    return {
        "title": "A model of the time of a step on a GPU; nothing was run",
        "tables": [{"columns": COLUMNS, "rows": rows}],
        "notes": [
            "These are not measurements. A launch is modelled as its cost and the longer of bytes over bandwidth and "
            "operations over rate; times of caches, waiting and idle processors are left out.",
            f"From data sheets: {sheets}. Assumed: {LAUNCH * 1e6:.1f} µs for a launch.",
            "Bytes are those of every entry once a launch where the launch fits into the cache of 40 MB, else once a "
            "step of it; the least are data, parameters and gradient once, and what crosses products, loops over "
            "time and draws by rejection, written once and read once. Gradient only, without optimizer.",
        ],
    }
