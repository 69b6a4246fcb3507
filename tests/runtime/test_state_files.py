"""Files of states: damaged in every byte, cut at every length, made by somebody else, larger than they look."""

import contextlib
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, MissingFileError, OptionError
from ppl.runtime.array_files import read_npz, remove_abandoned, write_npz
from ppl.runtime.state import Layout, State, pack_state
from ppl.training.checkpoints import CheckpointFile
from ppl.training.optim import SGD

LAYOUTS = Layout((("w", (2, 3)), ("b", ()))), Layout((("z/baseline", (2,)),))


def a_state():
    opt = {"t": 4, "m": np.arange(7.0), "v": np.ones(7), "nested": (np.int32(3), None, {"x": 1.5})}
    return State(np.linspace(-1, 1, 7), np.array([0.5, 2.0]), LAYOUTS, 4, 11, opt)


def equal(a, b):
    def leaves(tree):
        if isinstance(tree, dict):
            return [x for k in sorted(tree) for x in leaves(tree[k])]
        if isinstance(tree, tuple):
            return [x for part in tree for x in leaves(part)]
        return [None if tree is None else np.asarray(tree).tobytes()]

    parts = [(s._flat.tobytes(), s._aux.tobytes(), s._layouts, s.step, s.seed, leaves(s.opt)) for s in (a, b)]
    return parts[0] == parts[1]


@pytest.fixture
def path(tmp_path):
    a_state().save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def test_a_state_survives_its_file(path):
    assert equal(ppl.load_state(path), a_state())
    assert equal(ppl.load_state(str(path).encode()), a_state())
    assert os.listdir(path.parent) == ["state.npz"]


def test_a_file_cut_short_anywhere_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="not a state"):
            ppl.load_state(path)


def test_a_flipped_bit_is_refused_or_without_effect(path):
    content, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(altered))
        try:
            assert equal(ppl.load_state(path), a_state()), place
        except DataError:
            refused += 1
    assert refused > len(content) / 2


def test_bytes_exchanged_for_random_ones(path):
    content, random = path.read_bytes(), np.random.default_rng(1)
    for _ in range(300):
        altered = bytearray(content)
        start = int(random.integers(len(content)))
        altered[start : start + 16] = random.bytes(16)
        path.write_bytes(bytes(altered))
        with contextlib.suppress(DataError):
            assert equal(ppl.load_state(path), a_state())


def npy(array, **options):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **options)
    return out.getvalue()


def header_only(shape, dtype="<f8"):
    """An array that claims a shape, and has a few bytes."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"shape": shape, "fortran_order": False, "descr": dtype})
    return out.getvalue() + bytes(64)


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members:
            file.writestr(name, content)


def members(**changes):
    """The members of a good file as bytes, with some of them changed (None: left out)."""
    found = {f"{k}.npy": npy(v) for k, v in pack_state(a_state()).items()}
    found |= {f"{k}.npy": v for k, v in changes.items()}
    return [(k, v) for k, v in found.items() if v is not None]


def header(**changes):
    meta = json.loads(pack_state(a_state())["meta"].tobytes()) | changes
    return npy(np.frombuffer(json.dumps(meta).encode(), np.uint8))


DEEP = b"[" * 200_000 + b"]" * 200_000

BAD = {
    "no params": {"params": None},
    "no header": {"meta": None},
    "short params": {"params": npy(np.zeros(6))},
    "long params": {"params": npy(np.zeros(8))},
    "matrix": {"params": npy(np.zeros((7, 1)))},
    "integers": {"params": npy(np.zeros(7, np.int64))},
    "complex": {"params": npy(np.zeros(7, complex))},
    "half": {"params": npy(np.zeros(7, np.float16))},
    "mixed precision": {"params": npy(np.zeros(7, np.float32))},
    "short aux": {"aux": npy(np.zeros(0))},
    "objects": {"params": npy(np.array([{}] * 7, object), allow_pickle=True)},
    "text": {"params": npy(np.array(["a"] * 7))},
    "records": {"params": npy(np.zeros(7, [("a", "f8")]))},
    "claims more": {"params": header_only((2**40,))},
    "claims overflow": {"params": header_only((2**62, 2**62))},
    "negative shape": {"params": header_only((-7,))},
    "not an array": {"params": b"nothing"},
    "empty member": {"params": b""},
    "header is a list": {"meta": npy(np.frombuffer(b"[1, 2]", np.uint8))},
    "header is nested": {"meta": npy(np.frombuffer(DEEP, np.uint8))},
    "header is no text": {"meta": npy(np.frombuffer(b"\xff\xfe\x00", np.uint8))},
    "other version": {"meta": header(format=2)},
    "negative step": {"meta": header(step=-1)},
    "fractional step": {"meta": header(step=1.5)},
    "boolean step": {"meta": header(step=True)},
    "text step": {"meta": header(step="4")},
    "step NaN": {"meta": header(step=float("nan"))},
    "huge seed": {"meta": header(seed=2**64)},
    "other layout": {"meta": header(params=[["w", [3, 3]], ["b", []]])},
    "negative layout": {"meta": header(params=[["w", [-2, -3]], ["b", []]])},
    "double names": {"meta": header(params=[["w", [6]], ["w", []]])},
    "unnamed": {"meta": header(params=[[1, [6]], [2, []]])},
    "endless layout": {"meta": header(params=[["w", [2**40, 2**40]], ["b", []]])},
    "layout is text": {"meta": header(params="w")},
    "no such array": {"meta": header(opt={"array": "opt/none"})},
    "no tree": {"meta": header(opt=5)},
    "unknown estimator": {"meta": header(estimators={"z": {"class": "Nothing", "options": {}}})},
    "estimators are text": {"meta": header(estimators="z")},
    "options are text": {"meta": header(estimators={"z": {"class": "Rebar", "options": "z"}})},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_what_somebody_else_wrote_is_refused(path, changes):
    archive(path, members(**changes))
    with pytest.raises(DataError):
        ppl.load_state(path)
    archive(path, [*members(**changes), ("start.npy", npy(np.array(0))), ("history/step.npy", npy(np.arange(1, 5)))])
    with pytest.raises(DataError, match="not one of ppl"):
        CheckpointFile(path).load()


def test_files_that_expand_are_refused_before_they_are_read(path):
    """3 GiB of zeros in a file of some kilobytes, compressed or by members that overlap."""
    archive(path, members(params=npy(np.zeros(10**6))), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="compressed"):
        ppl.load_state(path)
    archive(path, members())
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<II", content, at + 20, 3 << 30, 3 << 30)
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="claim more"):
        ppl.load_state(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_double_members_and_others_are_refused(path):
    archive(path, [*members(), ("params.npy", npy(np.zeros(7)))])
    with pytest.raises(DataError, match="twice"):
        ppl.load_state(path)
    archive(path, [*members(), ("readme.txt", b"hello")])
    with pytest.raises(DataError, match="no array"):
        ppl.load_state(path)


def test_what_is_no_file(tmp_path, path):
    with pytest.raises(MissingFileError, match="no file"):
        ppl.load_state(tmp_path / "none.npz")
    assert issubclass(MissingFileError, FileNotFoundError)
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    for wrong in (tmp_path, tmp_path / "pipe", path / "below", "", "a\0b", 5, None, 1.5, [path]):
        with pytest.raises(DataError):
            ppl.load_state(wrong)
        with pytest.raises(DataError):
            a_state().save(tmp_path if wrong == tmp_path / "pipe" else wrong)
    path.write_bytes(b"")
    with pytest.raises(DataError):
        ppl.load_state(path)


@pytest.mark.parametrize(
    "option",
    [
        "",
        5,
        None,
        ("a.npz",),
        ("a.npz", 1, 2),
        ("a.npz", 1.5),
        ("a.npz", True),
        ("a.npz", -1),
        (None, 3),
        ["a.npz", "3"],
    ],
    ids=str,
)
def test_wrong_checkpoint_options(option):
    if option is not None:
        with pytest.raises(OptionError, match="checkpoint="):
            CheckpointFile(option)


def test_a_checkpoint_that_cannot_be_written_is_known_at_the_start(tmp_path):
    for wrong in (tmp_path / "none" / "a.npz", tmp_path):
        with pytest.raises(DataError, match=r"cannot write|folder"):
            CheckpointFile(wrong)


def test_a_link_stays_a_link(tmp_path, path):
    (tmp_path / "link.npz").symlink_to(path)
    ppl.load_state(tmp_path / "link.npz").replace(step=9).save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink() and ppl.load_state(path).step == 9


def test_only_abandoned_files_are_removed(path):
    from ppl.runtime import array_files

    file, living = array_files._open_temporary(str(path))
    dead = path.parent / f".{path.name}.0123456789abcdef.tmp"
    dead.write_bytes(b"half")
    (path.parent / ".other.npz.0123456789abcdef.tmp").write_bytes(b"half")
    remove_abandoned(path)
    assert not dead.exists() and os.path.exists(living) and len(os.listdir(path.parent)) == 3
    file.close()
    remove_abandoned(path)
    assert len(os.listdir(path.parent)) == 2


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(DataError, match="No space left"):
        a_state().replace(step=9).save(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_arrays_come_back_as_they_were(path):
    arrays = {
        "scalar": np.array(3, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(5, dtype=">f8"),
        "bools": np.array([True, False]),
        "a/\0b\\c%00005c\ud800é.npy": np.ones(2),
    }
    write_npz(path, arrays)
    found = read_npz(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape and np.array_equal(found[name], array), name
        assert found[name].dtype == array.dtype.newbyteorder("="), name
    with pytest.raises(DataError, match="cannot store"):
        write_npz(path, {"x": np.array([None])})


def test_the_same_place_of_two_trees_is_two_arrays(path):
    opt = {"a/b": np.ones(2), "a": {"b": np.zeros(3)}, 5: np.full(1, 7.0)}
    a_state().replace(opt=opt).save(path)
    found = ppl.load_state(path).opt
    assert found["a/b"].shape == (2,) and found["a"]["b"].shape == (3,) and found[5] == 7.0


@ppl.model
def small():
    ppl.cost("c", (ppl.param("w", np.zeros((2, 3))).sum() - 1.0) ** 2 + ppl.param("b", 0.0) ** 2)


def test_fit_refuses_damaged_checkpoints_before_it_compiles(tmp_path):
    program = ppl.compile(small, dtype="float64")
    path = tmp_path / "run.npz"
    program.init(0).save(path)
    with pytest.raises(DataError, match="where its run began"):
        ppl.fit(program, steps=3, optimizer=SGD(0.1), checkpoint=path)
    arrays = pack_state(program.init(0).replace(step=2)) | {"start": np.array(0)}
    for steps in ([1], [1, 3], [2, 1], [1, 2, 3], []):
        history = {"history/step": np.array(steps, np.int64), "history/loss": np.ones(len(steps))}
        write_npz(path, {**arrays, **history})
        with pytest.raises(DataError, match="history is not that of the steps"):
            ppl.fit(program, steps=3, optimizer=SGD(0.1), checkpoint=path)
    good = {"history/step": np.array([1, 2]), "history/loss": np.ones(2)}
    for name, values in {"loss": np.ones(1), "cost c": np.ones(3), "validation": np.ones(1)}.items():
        write_npz(path, {**arrays, **good, f"history/{name}": values})
        with pytest.raises(DataError, match="history"):
            ppl.fit(program, steps=3, optimizer=SGD(0.1), checkpoint=path)
    write_npz(path, {**arrays, **good, "params": np.full(7, np.nan)})
    with pytest.raises(DataError, match="parameter 'w' nan"):
        ppl.fit(program, steps=3, optimizer=SGD(0.1), checkpoint=path)
