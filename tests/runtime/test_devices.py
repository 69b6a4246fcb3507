"""What is said where there is no device, and which target is chosen."""

import importlib.util
import pickle
import subprocess
import sys

import pytest

import ppl
import ppl.estimators
from ppl.errors import DataError, ModelError, OptionError
from ppl.kernels.cuda import availability, launch
from ppl.models import toy

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "numba_cuda" or name.startswith("numba.cuda"):
            raise ModuleNotFoundError(name)

import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba_cuda" else found(name, *rest)
sys.meta_path.insert(0, Blocked())
import ppl
from ppl.models import toy
print(ppl.compile(toy.toy, target="auto").prepare().target.name)
try:
    program = ppl.compile(toy.toy, target="cuda")
    program.step(program.init(0))
except ppl.errors.DataError as error:
    print(error)
"""


def test_without_the_package_one_error_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    target, message = done.stdout.splitlines()
    assert target == "cpu" and message == availability.NO_PACKAGE


def test_without_a_device_one_error_says_so_for_every_call(monkeypatch):
    monkeypatch.setattr(launch, "available", lambda: False)
    program = ppl.compile(toy.toy, target="cuda")
    state = program.init(0)
    calls = (
        lambda: program.step(state),
        lambda: program.value(state),
        lambda: program.sample(state),
        lambda: ppl.fit(program, steps=1, optimizer=ppl.optim.SGD(0.1), progress=False),
    )
    for call in calls:
        with pytest.raises(DataError, match="needs an NVIDIA GPU and its driver"):
            call()


def test_auto_takes_a_device_where_there_is_one_and_the_model_can_run_on_it(monkeypatch):
    def double(x):
        return 2.0 * x

    @ppl.model
    def python_inside():
        z = ppl.sample("z", ppl.Normal(ppl.param("m", 0.0), 1.0), estimator=ppl.estimators.ScoreFunction())
        ppl.cost("c", ppl.external(double, z, python=True, check=False))

    for there, targets in ((False, ("cpu", "cpu")), (True, ("cuda", "cpu"))):
        monkeypatch.setattr(launch, "available", lambda there=there: there)
        found = [ppl.compile(model, target="auto").prepare().target.name for model in (toy.toy, python_inside)]
        assert tuple(found) == targets
    with pytest.raises(ModelError, match="double"):
        ppl.compile(python_inside, target="cuda")


def test_a_device_is_named_by_its_number(monkeypatch):
    monkeypatch.setattr(launch, "available", lambda: True)
    monkeypatch.setattr(launch, "count", lambda: 2)
    program = ppl.compile(toy.toy, target="cuda", device=2)
    assert pickle.loads(pickle.dumps(program)).prepare().target.device == 2
    with pytest.raises(DataError, match="there is no device 2: Numba finds 2"):
        program.step(program.init(0))
    for device in (-1, 1.5, "0"):
        with pytest.raises(OptionError, match="device"):
            ppl.compile(toy.toy, target="cuda", device=device)
    with pytest.raises(OptionError, match="target"):
        ppl.compile(toy.toy, target="gpu")
    with pytest.raises(OptionError, match="device=1 is the number of a CUDA device"):
        ppl.compile(toy.toy, device=1)


def test_programs_for_devices_have_no_functions_for_code_on_the_cpu():
    program = ppl.compile(toy.toy, target="cuda")
    calls = (
        lambda: program.njit,
        lambda: program.njit_value,
        lambda: program.njit_sample,
        lambda: program.njit_debug(),
        lambda: program.workspace(),
        lambda: program.sample_buffer(),
    )
    for call in calls:
        with pytest.raises(ModelError, match="no function for compiled code on the CPU"):
            call()
    with pytest.raises(ModelError, match="is no C function"):
        program.cfunc()
