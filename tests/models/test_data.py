"""Loaders of data files, on small files made here."""

import gzip
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from ppl.errors import DataError
from ppl.models import data
from tests.helpers.needs import needs

pytestmark = [pytest.mark.tiny, needs("sklearn")]

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4)).astype(np.uint8)


def idx(array, code):
    """The bytes of an IDX file: two zeros, type, rank, big-endian sizes, big-endian data."""
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("code, dtype", [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_every_type_are_read_plain_and_gzipped(tmp_path, code, dtype, packed):
    array = np.arange(-6, 18).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / ("images-idx3-ubyte.gz" if packed else "images-idx3-ubyte")
    path.write_bytes(gzip.compress(idx(array, code)) if packed else idx(array, code))
    found = data.load_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not an IDX file"),
        (b"\1\0\10\1\0\0\0\1\0", "is not an IDX file"),
        (b"\0\0\7\1\0\0\0\1\0", "is not an IDX file"),
        (idx(IMAGES, 8)[:-5], r"187 bytes of data, but shape \(12, 4, 4\)"),
        (idx(IMAGES, 8) + b"\0", "193 bytes of data"),
        (idx(IMAGES, 8)[:10], "cut short"),
    ],
)
def test_files_of_another_format_or_length_are_refused(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.load_idx(path)


def test_npz_files_give_the_only_array_or_the_named_one(tmp_path):
    np.savez(tmp_path / "one.npz", images=IMAGES)
    np.savez(tmp_path / "two.npz", x_train=IMAGES, y_train=np.arange(12))
    np.savez(tmp_path / "pickled.npz", np.array([{}], object))
    np.testing.assert_array_equal(data.load_npz(tmp_path / "one.npz"), IMAGES)
    np.testing.assert_array_equal(data.load_npz(tmp_path / "two.npz", "y_train"), np.arange(12))
    with pytest.raises(DataError, match=r"'x_train', 'y_train'.*say which"):
        data.load_npz(tmp_path / "two.npz")
    with pytest.raises(DataError, match="no array 'z'"):
        data.load_npz(tmp_path / "two.npz", "z")
    with pytest.raises(ValueError, match="allow_pickle"):
        data.load_npz(tmp_path / "pickled.npz")


@pytest.mark.parametrize("name", ["rows.npz", "rows-idx3-ubyte", "rows-idx3-ubyte.gz"])
def test_binary_images_cut_grey_at_half_and_hold_out_a_sixth(tmp_path, name):
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, IMAGES)
    else:
        path.write_bytes(gzip.compress(idx(IMAGES, 8)) if name.endswith("gz") else idx(IMAGES, 8))
    train, test = data.binary_images(path)
    expected = (IMAGES.reshape(12, 16) > IMAGES.max() / 2).astype(np.float32)
    np.testing.assert_array_equal(train, expected[:10])
    np.testing.assert_array_equal(test, expected[10:])
    assert train.dtype == np.float32


def test_binary_images_are_the_digits_without_a_file():
    for found, digits in zip(data.binary_images(None), data.digits(), strict=True):
        np.testing.assert_array_equal(found, digits)


def test_openml_asks_scikit_learn_for_arrays(monkeypatch):
    asked = []

    def fetch(name, **settings):
        asked.append((name, settings))
        return SimpleNamespace(data=[[1.0, 2.0], [3.0, 4.0]], target=["5", "7"])

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    x, y = data.openml("mnist_784", version=2)
    assert asked == [("mnist_784", {"version": 2, "as_frame": False})]
    np.testing.assert_array_equal(x, [[1.0, 2.0], [3.0, 4.0]])
    assert y.tolist() == ["5", "7"]
