"""`program.cfunc` through ctypes: its statuses, what it checks, threads, memory, and what it refuses."""

import ctypes
import pickle
import threading

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import ppl
from ppl import Normal, Poisson
from ppl.errors import DataError, ModelError
from ppl.estimators import ScoreFunction
from tests.program.embedded import KINDS, FromC, counts, given, nopython, program_of
from tests.program.programs import mixed_program, toy_program

OK, SIMULATOR, PARAMETER, WORKSPACE, NOT_FINITE = range(5)


@ppl.model
def scaled(x):
    """A model whose scale is out of range where `a` is not positive, and whose loss is infinite where `w` is."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(ppl.param("m", 0.1), ppl.param("a", 0.5)))
        ppl.cost("c", (z - x) ** 2 * ppl.param("w", 1.0))


@numba.njit
def fragile(z, x):
    """Raises an exception where x is large."""
    if x > 100.0:
        raise ValueError("too large")
    return (z - x) ** 2


@ppl.model
def simulated(x):
    """A user's function a row."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(ppl.param("m", 0.1), 1.0))
        ppl.cost("c", ppl.external(fragile, z, x))


def python_cost(z):
    """A Python function."""
    return float(z) ** 2


@ppl.model
def in_python():
    """A user's Python function."""
    ppl.cost("c", ppl.external(python_cost, ppl.sample("z", Normal(ppl.param("m", 0.1), 1.0)), python=True))


X = np.linspace(-1.0, 1.0, 9)


def scaled_call(kind="gradient", dtype="float64"):
    program = ppl.compile(scaled, dtype=dtype, data=X)
    return FromC(program, program.init(0), (X.astype(dtype),), kind)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["gradient", "value", "sample"])
def test_a_parameter_out_of_range_and_a_result_that_is_not_finite(kind, dtype):
    call = scaled_call(kind, dtype)
    names = {name: i for i, (name, _) in enumerate(call.program.prepare().layout.shapes)}
    assert call(3, 0) == OK
    nan = NOT_FINITE if kind == "sample" else PARAMETER  # `sample` looks at conditions that numbers can break
    cases = [("a", -0.5, PARAMETER), ("a", 0.0, PARAMETER), ("a", np.nan, PARAMETER), ("m", np.nan, nan)]
    for name, value, status in [*cases, ("w", np.inf, NOT_FINITE)]:
        before = call.params[names[name]]
        call.params[names[name]] = value
        expected = OK if kind == "sample" and name == "w" else status
        assert call(3, 0) == expected, (name, value)
        call.params[names[name]] = before
    assert call(3, 0) == OK


def test_data_that_are_not_finite():
    call = scaled_call()
    call.data[0][4] = np.nan
    assert call(3, 0) == NOT_FINITE and np.isnan(call.loss.value)


def test_an_exception_in_a_users_function():
    program = ppl.compile(simulated, ScoreFunction(), dtype="float64", data=X)
    call = FromC(program, program.init(0), (X.copy(),))
    assert call(3, 0) == OK
    call.data[0][6] = 1e3
    assert [call(3, t) for t in range(100)] == [SIMULATOR] * 100
    call.data[0][6] = 0.0
    assert call(3, 0) == OK


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KINDS)
def test_a_workspace_of_the_length_said_and_no_less(name, dtype):
    program = program_of(name, dtype)
    for n in (1, 37, 300):
        arrays = given(name, dtype, n)
        call = FromC(program, program.init(1, *arrays), arrays)
        assert call(3, 0) == OK
        aux = call.aux.copy()
        for fill in (0, 1, 0x7F, 0xFF):
            call.memory[:], call.aux[:] = fill, aux
            call(3, 0)
            after = call.memory[call.bytes :]
            assert (after == fill).all(), "bytes behind the workspace"
            if fill == 0:
                first = call.loss.value, call.grad.tobytes()
            assert (call.loss.value, call.grad.tobytes()) == first
        grad, aux = call.grad.copy(), call.aux.copy()
        assert call(3, 1, len=call.bytes - 1) == WORKSPACE
        assert call(3, 1, len=0) == WORKSPACE and call(3, 1, len=-5) == WORKSPACE
        assert call(3, 1, work=None) == WORKSPACE and call.loss.value == call.bytes
        assert (grad.tobytes(), aux.tobytes()) == (call.grad.tobytes(), call.aux.tobytes())


def test_an_unaligned_workspace_is_aligned_within():
    arrays = given("mixed", "float64", 20)
    call = FromC(mixed_program(), mixed_program().init(1, *arrays), arrays)
    found = set()
    for shift in range(0, 64, 8):
        at = call.memory.ctypes.data + shift
        assert call(3, 0, work=at) == OK
        found.add((call.loss.value, call.grad.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("name", ["params", "grad", "aux", "data0", "loss"])
def test_null_and_misaligned_pointers(name):
    arrays = given("units, rebar", "float64", 5)
    program = program_of("units, rebar", "float64")
    call = FromC(program, program.init(1, *arrays), arrays)
    assert call(3, 0, **{name: None}) == PARAMETER
    if name != "loss":
        array = arrays[0] if name == "data0" else getattr(call, name)
        assert call(3, 0, **{name: array.ctypes.data + 4}) == PARAMETER
    assert call(3, 0) == OK


@pytest.mark.parametrize("count", [0, -1, -(2**40), 2**41, 2**62])
def test_numbers_of_rows_out_of_range(count):
    call = scaled_call()
    assert call(3, 0, rows=[count]) == PARAMETER
    with pytest.raises(DataError, match="no numbers of rows"):
        call.function.work_len(count)


def test_a_null_hyper_is_fine_where_there_is_none():
    assert scaled_call()(3, 0, hyper=None) == OK


@pytest.mark.parametrize("name", ["toy", "mixed", "wide", "table"])
def test_two_threads_at_the_same_time(name):
    program = program_of(name, "float64")
    arrays = given(name, "float64", 200)
    state, steps = program.init(2, *arrays), 300 if name != "wide" else 20
    calls = [FromC(program, state, arrays) for _ in range(2)]
    found = [[], []]

    def work(i):
        for t in range(steps):
            assert calls[i](3, t) == OK
            found[i].append((calls[i].loss.value, calls[i].grad.tobytes()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = FromC(program, state, arrays)
    expected = []
    for t in range(steps):
        alone(3, t)
        expected.append((alone.loss.value, alone.grad.tobytes()))
    assert found[0] == found[1] == expected


@pytest.fixture
def statistics():
    """Numba counts the memory that compiled code allocates."""
    before = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    yield
    if not before:
        _nrt_python.memsys_disable_stats()


@pytest.mark.parametrize("kind", ["njit", "njit_value", "njit_sample"])
@pytest.mark.parametrize("name", KINDS)
def test_no_allocation_inside(name, kind, statistics):
    program = program_of(name, "float64")
    arrays = given(name, "float64", 37)
    users = nopython(program, len(arrays), kind)
    params, grad, aux, hyper = program.arrays(program.init(0, *arrays))
    of = {"njit": "gradient", "njit_value": "value", "njit_sample": "sample"}[kind]
    work = program.workspace(max([75, *counts(program, arrays)]), of)
    out = program.sample_buffer(75)[0] if kind == "njit_sample" else grad
    from_c = None if (name, of) == ("two plates", "sample") else FromC(program, program.init(0, *arrays), arrays, of)

    def run():
        users(params, out, aux, hyper, 3, 0, 0, 1.0, work, *arrays)
        if from_c is not None:
            from_c(3, 0)

    run()
    before = rtsys.get_allocation_stats()
    for _ in range(5):
        run()
    passed = 5 * (6 + len(arrays))  # Numba makes a record of every array that Python passes
    assert rtsys.get_allocation_stats().alloc == before.alloc + passed


def test_statistics_of_allocation_count(statistics):
    before = rtsys.get_allocation_stats().alloc
    numba.njit(lambda: np.empty(3).sum())()
    assert rtsys.get_allocation_stats().alloc > before


def test_python_functions_are_refused():
    program = ppl.compile(in_python, ScoreFunction())
    with pytest.raises(ModelError, match=r"cfunc: 'python_cost' is a Python function \(python=True\)"):
        program.cfunc()


def test_other_kinds_and_targets_are_refused():
    with pytest.raises(DataError, match='"gradient", "value" or "sample"'):
        toy_program().cfunc("grad")
    with pytest.raises(ModelError, match="target 'cuda'"):
        ppl.compile(toy_program().objective, target="cuda").cfunc()


def test_one_function_for_each_kind_which_can_be_pickled():
    program = mixed_program()
    first = program.cfunc()
    assert program.cfunc() is first and program.cfunc("value") is not first
    other = pickle.loads(pickle.dumps(first))
    assert other.kind == "gradient" and other.work_len(5) == first.work_len(5)
    with pytest.raises(DataError, match="takes 1 numbers of rows"):
        first.work_len()


def test_the_address_is_that_of_a_function_of_the_signature():
    function = toy_program().cfunc()
    assert function.signature.startswith("int32_t function(const double *params, double *grad")
    assert ctypes.cast(function.ctypes, ctypes.c_void_p).value == function.address


def test_a_poisson_of_rows_out_of_its_support_is_not_looked_at():
    """Values of data are the caller's business; what Python refuses still harms no memory."""

    @ppl.model
    def counted(k):
        with ppl.plate("data", k) as k:
            ppl.sample("k", Poisson(ppl.param("rate", 1.0, constraint="positive")), obs=k)

    program = ppl.compile(ppl.likelihood(counted), dtype="float64", data=np.arange(5))
    call = FromC(program, program.init(0), (np.array([1, -3, 2**50, 0, 5]),))
    assert call(0, 0) in (OK, NOT_FINITE)


def test_a_header_needs_a_name_of_c(tmp_path):
    function = toy_program().cfunc()
    assert function.header(tmp_path / "policy.h").read_text().count("policy_fn") > 2
    for name in ("int", "2d", "a b", "", "über"):
        with pytest.raises(DataError, match=r"names in C cannot begin|header: name"):
            function.header(tmp_path / "x.h", name)
    with pytest.raises(DataError, match="pass name="):
        function.header(tmp_path / "my-policy.h")
