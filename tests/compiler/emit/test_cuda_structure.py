"""The structure of CUDA programs, counted from what is emitted: launches, bytes, memory. Nothing is run."""

import pytest

from benchmarks.workloads import cubins
from ppl.compiler.schedule.stages import Opaque
from ppl.runtime.devices.accounts import Accounts, accounts_of

PROGRAMS = dict(cubins.programs())
ROWS = 512


def accounts(name: str, rows: int = ROWS, key: str = "gradient") -> Accounts:
    executable = PROGRAMS[name]().prepare().executable(key)
    return accounts_of(executable, rows, particles=2 if name == "belief net (W3)" else 1)


@pytest.mark.parametrize(("name", "most"), [("toy (W1)", 1), ("regression", 4)])
def test_small_programs_are_few_launches(name, most):
    assert len(accounts(name).launches) <= most


@pytest.mark.parametrize("name", ["VAE (W2)", "belief net (W3)", "belief net, DisARM", "categorical VAE", "RBM"])
def test_programs_with_products_are_few_other_launches(name):
    found = accounts(name)
    assert found.products >= 4
    assert len(found.launches) <= found.products + 8


def test_tasks_share_a_launch_where_none_waits_for_another():
    found = [launch.name.split() for launch in accounts("belief net (W3)").launches]
    assert ["stage_8", "gemm_1"] in found
    assert len(found) == 7


def test_launches_are_those_of_the_emitted_host():
    executable = PROGRAMS["VAE (W2)"]().prepare().executable("gradient")
    kernels = [f.name for f in executable.functions if f.form == "launch"]
    host = next(f for f in executable.functions if f.name == "launch")
    assert len(kernels) == len(accounts("VAE (W2)").launches)
    assert len([line for line in str(executable.source).splitlines() if line.startswith("    start(launch_")]) == len(
        kernels
    )
    assert host.form == "host"


@pytest.mark.parametrize("name", ["VAE (W2)", "belief net (W3)", "RBM"])
def test_products_of_rows_share_no_region_with_anything_else(name):
    executable = PROGRAMS[name]().prepare().executable("gradient")
    for stage in executable.stages:
        kinds = {step.node.op if isinstance(step, Opaque) else "loops" for step in stage.steps}
        assert stage.row is None or "gemm" not in kinds or kinds == {"gemm"}
