"""Libraries in C and C++ that are compiled against a program's header, handed its address, and train in their own loop.

They need gcc and g++ (or what CC and CXX name). Where there is none the tests are skipped, but not where CI is set.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.estimators import Pathwise, ScoreFunction
from tests.program.embedded import KINDS, FromC, given, program_of

SOURCES = Path(__file__).parent / "libraries"
LANGUAGES = {"c": ("CC", "gcc", ["-std=c11"], "train.c"), "c++": ("CXX", "g++", ["-std=c++17"], "train.cpp")}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]
OK, SIMULATOR, PARAMETER, WORKSPACE, NOT_FINITE = range(5)
STEPS, RATE, SEED = 100, 0.0005, 9


def compiler(language: str) -> list[str]:
    """The command of a compiler."""
    variable, usual, standard, _ = LANGUAGES[language]
    found = shutil.which(os.environ.get(variable, usual))
    if found is None and os.environ.get("CI"):
        pytest.fail(f"no compiler {usual!r} (or ${variable}) for the tests of C functions")
    if found is None:
        pytest.skip(f"no compiler {usual!r} (or ${variable}): C functions are not tested in {language}")
    return [found, *standard, *STRICT]


def run(command: list[str]) -> None:
    """Run a compiler, which must not complain."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, f"{' '.join(command)}\n{done.stderr}"


def built(language: str, function, folder: Path):
    """The library in a language, compiled against the header of `function`."""
    header = function.header(folder / "policy.h")
    library = folder / "library.so"
    real = function.described.real
    command = [*compiler(language), "-shared", "-fPIC", f'-DHEADER="{header}"', f"-Dpolicy_real={real}", "-pthread"]
    run([*command, str(SOURCES / LANGUAGES[language][3]), "-o", str(library)])
    found = ctypes.CDLL(str(library))
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    vectors = [pointer, pointer, whole, pointer]
    found.train.argtypes = [pointer, whole, ctypes.c_double, ctypes.c_uint64, *vectors, pointer]
    found.once.argtypes = [pointer, *vectors, whole]
    found.needed.argtypes, found.needed.restype = [pointer, whole], whole
    return found


@numba.njit
def strict(z, x):
    """A user's function that refuses large numbers."""
    if x > 100.0:
        raise ValueError("too large")
    return (z - x) ** 2


@ppl.model
def policy(x):
    """A scale that has a range, a factor that may be infinite, a user's function."""
    w = ppl.param("w", np.array([0.1, 0.2, 0.3]))
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(w @ x, ppl.param("a", 0.5)))
        u = ppl.sample("u", Normal(ppl.param("loc", 0.0), 1.0))
        ppl.cost("c", (z - x[0]) ** 2 * ppl.param("f", 1.0))
        ppl.cost("user", 0.01 * ppl.external(strict, u, x[1]))


@pytest.fixture(scope="module", params=["float32", "float64"])
def program(request):
    estimators = {"u": ScoreFunction("moving_average"), "*": Pathwise()}
    return ppl.compile(policy, estimators, dtype=request.param, data=ppl.spec((None, 3)))


def data_of(program):
    return np.random.default_rng(1).normal(size=(20, 3)).astype(program.settings.dtype)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_library_trains_and_reports_every_status(language, program, tmp_path):
    function = program.cfunc()
    library = built(language, function, tmp_path)
    x, state = data_of(program), program.init(SEED)
    params, _, aux, _ = program.arrays(state)
    losses = np.zeros(STEPS)
    at = lambda array: array.ctypes.data  # noqa: E731
    status = library.train(function.address, STEPS, RATE, SEED, at(params), at(aux), len(x), at(x), at(losses))
    assert status == OK
    rate, expected = np.dtype(program.settings.dtype).type(RATE), []
    for _ in range(STEPS):
        loss, grads, state = program.step(state, x)
        expected.append(loss)
        state = state.replace(params={k: v - rate * grads[k] for k, v in state.params.items()})
    rtol = 1e-3 if program.settings.dtype == "float32" else 1e-9  # the library's own update may be a fused one
    np.testing.assert_allclose(losses, expected, rtol=rtol)
    np.testing.assert_allclose(params, program.ravel(state), rtol=rtol, atol=rtol)

    offsets = dict(
        zip((n for n, _ in program.prepare().layout.shapes), (v.offset for v in function.described.params), strict=True)
    )
    enough = library.needed(function.address, len(x))
    assert enough == function.work_len(len(x))

    def once(values=None, length=enough, rows=20, bad=None):
        given, own, baselines = params.copy(), x.copy(), aux.copy()
        for name, value in (values or {}).items():
            given[offsets[name]] = value
        if bad is not None:
            own[7, 1] = bad
        return library.once(function.address, at(given), at(baselines), rows, at(own), length)

    assert once() == OK
    assert once(bad=1e3) == SIMULATOR
    assert once({"a": -1.0}) == PARAMETER and once(rows=0) == PARAMETER
    assert once(length=enough - 1) == WORKSPACE and once(length=0) == WORKSPACE
    assert once({"f": np.inf}) == NOT_FINITE
    assert once(bad=np.nan) == PARAMETER, "the mean of z is NaN"
    assert once() == OK


@pytest.mark.parametrize("language", LANGUAGES)
def test_constants_of_the_header(language, program, tmp_path):
    function = program.cfunc()
    library = built(language, function, tmp_path)
    out = np.zeros(20, np.int64)
    count = library.constants(ctypes.c_void_p(out.ctypes.data))
    layout, at = program.prepare().layout, 0
    places = {}
    for name, shape in layout.shapes:
        places[name], at = at, at + int(np.prod(shape))
    aux = program.prepare().aux_layout.size
    assert out[:count].tolist() == [0, 1, 2, 3, 4, layout.size, aux, places["a"], places["w"], 3, 3, 1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["gradient", "value", "sample"])
def test_headers_of_all_kinds_compile(kind, language, tmp_path):
    command = compiler(language)
    lines = []
    for i, name in enumerate(KINDS):
        header = program_of(name, "float64").cfunc(kind).header(tmp_path / f"h{i}.h")
        lines += [f'#include "{header}"', f'#include "{header}"']
    source = tmp_path / "all.c"
    source.write_text("\n".join([*lines, "int main(void) { return 0; }", ""]))
    run([*command, "-x", language, str(source), "-o", str(tmp_path / "all")])


def test_names_of_any_characters_compile(tmp_path):
    @ppl.model
    def strange(x):
        with ppl.plate("rows of */ data", x) as x:
            w = ppl.param("w /* \\ ?? ü\n", 0.1) + ppl.param("W.2", 0.1) + ppl.param("w.2", 0.1)
            ppl.cost("c", (ppl.sample("z/*", Normal(w, 1.0)) - x) ** 2 * ppl.hyper("a-b", 1.0))

    program = ppl.compile(strange, data=np.zeros(3))
    for language in LANGUAGES:
        for kind in ("gradient", "sample"):
            header = program.cfunc(kind).header(tmp_path / f"{kind}.h", "strange")
            run([*compiler(language), "-x", language, "-fsyntax-only", str(_including(header))])


def _including(header: Path) -> Path:
    source = header.with_suffix(".c")
    source.write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n')
    return source


OFFSETS = """
#include HEADER
#include <string.h>
int64_t places(int64_t n, int64_t *out);
int64_t places(int64_t n, int64_t *out)
{
    out[0] = drawn_shift_offset(n);
    out[1] = drawn_b_offset(n);
    out[2] = drawn_z_offset(n);
    out[3] = drawn_total_offset(n);
    return drawn_out_len(n);
}
"""


def test_where_the_sites_of_a_sample_lie(tmp_path):
    program, n = program_of("mixed", "float64"), 13
    arrays = given("mixed", "float64", n)
    call = FromC(program, program.init(0, *arrays), arrays, "sample")
    assert call(SEED, 0) == OK
    header = call.function.header(tmp_path / "drawn.h")
    (tmp_path / "places.c").write_text(OFFSETS)
    command = [*compiler("c"), "-shared", "-fPIC", f'-DHEADER="{header}"', str(tmp_path / "places.c")]
    run([*command, "-o", str(tmp_path / "places.so")])
    places = ctypes.CDLL(str(tmp_path / "places.so")).places
    places.argtypes, places.restype = [ctypes.c_int64, ctypes.c_void_p], ctypes.c_int64
    out = np.zeros(4, np.int64)
    assert places(n, out.ctypes.data) == call.grad.size
    expected = program.sample(program.init(0, *arrays), *arrays, particles=2, seed=SEED)
    shapes = {"shift": (2,), "b": (n, 2, 3), "z": (n, 2, 2), "total": (n, 2)}
    for (site, shape), at in zip(shapes.items(), out.tolist(), strict=True):
        found = call.grad[at : at + int(np.prod(shape))].reshape(shape)
        np.testing.assert_array_equal(found if site == "shift" else np.moveaxis(found, 1, 0), expected[site])


def test_cffi_calls_the_address():
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    program = program_of("toy", "float64")
    function = program.cfunc()
    call = ffi.cast(function.signature.replace("function", "(*)", 1), function.address)
    params, grad, aux, _ = program.arrays(program.init(3))
    work, loss = ffi.new("char[]", function.work_len()), ffi.new("double *")
    vectors = [ffi.from_buffer("double[]", a, require_writable=True) for a in (params, grad, aux)]
    assert call(*vectors, ffi.NULL, 3, 0, 0, 1.0, work, len(work), loss) == OK
    assert loss[0] == program.value_and_grad(program.init(3))[0]
