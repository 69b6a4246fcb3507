"""Who may use what of Numba's: the sources are walked for private parts outside `kernels/internals`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.tiny

PUBLIC = {"numba", "numba.types", "numba.extending", "numba.core.errors", "numba.experimental"}
NAMES = {"cfunc", "cuda", "experimental", "extending", "njit", "objmode", "prange", "types"}
MINE = (
    "kernels/internals/",
    "kernels/cuda/ptx.py",
    "kernels/cuda/simulated.py",
    "kernels/cuda/externals.py",
    "kernels/cuda/compat.py",
)
RELIED = {
    "active_code_library", "call_conv", "fndesc", "get_call_template", "get_compile_result", "get_overload",
    "has_dynamic_globals", "magic_tuple", "overloads", "recompile", "reload_init", "targetctx", "targetoptions",
    "class_type", "jit_methods", "jit_props", "jit_static_methods", "call_internal_no_propagate", "typing_context",
}  # fmt: skip
OURS = {"_fields", "_field_defaults", "_replace", "_asdict"}


def _files():
    folders = ("kernels", "ppl", "models", "benchmarks", "examples")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path for path in paths}


@pytest.mark.parametrize("folder", ["kernels", "ppl", "models", "benchmarks", "examples"])
def test_private_parts_stand_in_one_place(folder):
    wrong = []
    for name, path in _files().items():
        if name.startswith(f"{folder}/") and not name.startswith(MINE):
            wrong += [f"{name}:{line}: {text}" for line, text in _private(path.read_text(encoding="utf-8"), folder)]
    assert not wrong, "\n".join(wrong)


def _private(text, folder):
    """Lines that name something of Numba that `internals` should have."""
    for x in ast.walk(ast.parse(text)):
        if isinstance(x, ast.Import):
            bad = [a.name for a in x.names if a.name.startswith("numba") and a.name not in {"numba", "numba.types"}]
        elif isinstance(x, ast.ImportFrom) and re.match(r"numba\b", x.module or ""):
            allowed = NAMES if x.module == "numba" else None
            bad = [a.name for a in x.names if a.name.startswith("_") or (allowed and a.name not in allowed)]
            bad += [] if x.module in PUBLIC else [x.module]
        elif isinstance(x, ast.Attribute):
            whole = ast.unparse(x)
            bad = [whole] if re.match(r"numba\.(core\.(?!errors)|np\.|misc|parfors)", whole) else []
            bad += [whole] if folder == "kernels" and _is_private(x) else []
        elif isinstance(x, ast.Call) and ast.unparse(x.func) in ("getattr", "hasattr", "setattr"):
            bad = [ast.unparse(a) for a in x.args if isinstance(a, ast.Constant) and a.value in RELIED]
        elif isinstance(x, ast.Constant) and isinstance(x.value, str):
            bad = re.findall(r"^(?:from|import) numba\.(?!types|extending)[\w.]+", x.value, re.MULTILINE)
        else:
            continue
        yield from ((x.lineno, name) for name in bad)


def _is_private(x):
    """Whether an attribute is one that `internals` stands before, or another object's own."""
    if x.attr in RELIED:
        return True
    owner = x.value.id if isinstance(x.value, ast.Name) else ""
    own = owner in ("self", "cls", "os") or x.attr in OURS or x.attr.startswith("__")
    return x.attr.startswith("_") and not own


def test_the_walk_finds_what_it_looks_for():
    shown = {
        "from numba.core import cgutils": "numba.core",
        "from numba.extending import _Intrinsic": "_Intrinsic",
        "import numba.core.config": "numba.core.config",
        "from numba import core": "core",
        "numba.core.caching.NullCache": "numba.core.caching.NullCache",
        "f._cache": "f._cache",
        "result.reload_init": "result.reload_init",
        "getattr(f, 'overloads')": "'overloads'",
        "TEXT = 'from numba.core import x'": "from numba.core",
    }
    for text, name in shown.items():
        assert name in [found for _, found in _private(text, "kernels")], text
    for text in ("from numba import types", "from numba.extending import intrinsic", "numba.config.OPT", "self._x"):
        assert not list(_private(text, "kernels")), text
