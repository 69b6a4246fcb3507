"""The structure of CUDA programs, counted from what is emitted: launches, bytes, memory. Nothing is run."""

from functools import cache

import pytest

from benchmarks import cuda_programs
from benchmarks.cuda_traffic import ProgramTraffic, account_for_call
from benchmarks.workloads import cubins
from benchmarks.workloads.cubins import executable_of
from ppl.compiler.schedule.stages import Opaque
from ppl.kernels.cuda import ptx

PROGRAMS = cuda_programs.suite()

WITH_PRODUCTS = ["belief net (W3)", "belief net, DisARM (W3)", "VAE (W4)", "categorical VAE (W4)", "RBM (W5)"]

BYTES = {"pathwise units (W2)": 1.5, "belief net, DisARM (W3)": 1.5, "VAE (W4)": 1.5, "policy (W7)": 1.5,
         "gamma units (W8)": 1.5, "regression": 1.5, "belief net (W3)": 1.6, "categorical VAE (W4)": 1.6,
         "RBM (W5)": 1.8}  # fmt: skip
"""Bytes of a step over the least possible: 1.5 is the goal, and the last three miss it."""


@cache
def emitted(name: str):
    return executable_of(PROGRAMS[name].build(), "gradient")


def accounts(name: str, rows: int | None = None) -> ProgramTraffic:
    made = PROGRAMS[name]
    return account_for_call(emitted(name), rows or made.rows, made.particles)


@pytest.mark.parametrize(("name", "most"), [("toy (W1)", 1), ("regression", 4)])
def test_small_programs_are_few_launches(name, most):
    assert len(accounts(name).launches) <= most


@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_programs_with_products_are_few_other_launches(name):
    found = accounts(name)
    assert found.products >= 4
    assert len(found.launches) <= found.products + 8


def test_tasks_share_a_launch_where_none_waits_for_another():
    found = [launch.name.split() for launch in accounts("belief net (W3)").launches]
    assert ["stage_8", "gemm_1"] in found
    assert len(found) == 7


def test_launches_are_those_of_the_emitted_host():
    executable = emitted("VAE (W4)")
    kernels = [f.name for f in executable.functions if f.form == "launch"]
    started = [line for line in executable.source.splitlines() if line.startswith("    start(launch_")]
    assert len(kernels) == len(started) == len(accounts("VAE (W4)").launches)


@pytest.mark.parametrize("name", ["VAE (W4)", "belief net (W3)", "RBM (W5)"])
def test_products_of_rows_share_no_region_with_anything_else(name):
    for stage in emitted(name).stages:
        kinds = {step.node.op if isinstance(step, Opaque) else "loops" for step in stage.steps}
        assert stage.row is None or "gemm" not in kinds or kinds == {"gemm"}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_of_a_step_are_near_the_least(name):
    found = accounts(name)
    assert 0 < found.bytes <= BYTES[name] * found.least


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n not in ("regression", "regression, network")])
def test_neighbouring_threads_touch_neighbouring_entries(name):
    """Two regressions on ten columns of data add up over rows, where threads of a team take rows: a fifth of bytes."""
    assert accounts(name).beside >= 0.95


@pytest.mark.parametrize("rows", [512, 10_000])
@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_memory_is_a_few_activations(name, rows):
    found = accounts(name, rows)
    assert found.workspace <= 3 * found.crossing + found.gradient


def test_a_belief_net_fits_on_many_rows():
    assert accounts("belief net (W3)", 10_000).workspace < 1e9


def test_traffic_grows_with_rows():
    few, many = (accounts("VAE (W4)", rows) for rows in (512, 1024))
    assert 1.5 < many.bytes / few.bytes < 2
    assert many.launches[0].multiplied == 2 * few.launches[0].multiplied == 2 * 1024 * 784 * 128


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
def test_a_sample_of_kernels_fits_into_registers_and_has_float64_in_accumulators_only():
    found = [*cubins.measured(emitted("regression")), *cubins.measured(emitted("toy (W1)"))]
    _, wrong = cubins.row_of("sample", found)
    assert not wrong
    assert any(x.code.float64 for x in found)
