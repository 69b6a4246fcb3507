"""Real data for the models: scikit-learn's bundled sets, MNIST-style files, and the text of Python's own manual."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppl.errors import DataError, PplError

MISSING = "the model zoo needs scikit-learn and matplotlib: pip install 'numba-ppl[demo]'"
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def sklearn(name: str) -> Any:
    """scikit-learn's bundled data set `name` (digits, breast_cancer, diabetes, iris, wine)."""
    try:
        from sklearn import datasets
    except ImportError:
        raise PplError(MISSING) from None
    return getattr(datasets, f"load_{name}")()


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 8×8 handwritten digits, binarised at > 7: 1500 training and 297 held-out rows of 64 bits."""
    images = (sklearn("digits").data > 7).astype(np.float32)
    return images[:1500], images[-297:]


def continuous_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same rows in grey: their 17 levels spread evenly over [0, 1] by fixed noise, so that densities are bounded.

    Returns training and held-out rows (1500, 64) and (297, 64), standardised by the training rows' mean and standard
    deviation, and these: pixels are `rows * spread + mean`.
    """
    levels = sklearn("digits").data
    pixels = (levels + np.random.default_rng(0).random(levels.shape)) / 17
    mean, spread = pixels[:1500].mean(0), pixels[:1500].std(0)
    rows = ((pixels - mean) / spread).astype(np.float32)
    return rows[:1500], rows[-297:], mean, spread


def digit_labels() -> tuple[np.ndarray, np.ndarray]:
    """The classes 0 … 9 of the rows of `digits`: (1500,) and (297,) integers."""
    labels = sklearn("digits").target.astype(np.int32)
    return labels[:1500], labels[-297:]


def grey_digits() -> tuple[np.ndarray, np.ndarray]:
    """The rows of `digits` before binarisation, grey values in [0, 1]: (1500, 64) and (297, 64)."""
    images = (sklearn("digits").data / 16).astype(np.float32)
    return images[:1500], images[-297:]


def distorted(rows: np.ndarray, copies: int, seed: int) -> np.ndarray:
    """`rows` of square images, then `copies` times the same rows under random affine maps: ((copies + 1) n, pixels).

    Each image is rotated by up to 0.2 rad, sheared and stretched by up to 0.15 and moved by up to one pixel, with
    bilinear interpolation. Simard, Steinkraus & Platt 2003.
    """
    from scipy.ndimage import map_coordinates

    rng, side = np.random.default_rng(seed), round(rows.shape[1] ** 0.5)
    n, middle = copies * len(rows), (side - 1) / 2
    angle, shear = rng.uniform(-0.2, 0.2, n), rng.uniform(-0.15, 0.15, n)
    (a, b), shift = 1 + rng.uniform(-0.15, 0.15, (2, n)), rng.uniform(-1, 1, (2, n, 1, 1))
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.array([[a * cos, b * (shear * cos - sin)], [a * sin, b * (shear * sin + cos)]])
    grid = np.indices((side, side)) - middle
    places = np.einsum("ijn,jrc->inrc", maps, grid) + shift + middle
    image = np.broadcast_to(np.tile(np.arange(len(rows)), copies)[:, None, None], places.shape[1:])
    moved = map_coordinates(rows.reshape(-1, side, side), [image, *places], order=1)
    return np.concatenate([rows, moved.reshape(n, -1)]).astype(rows.dtype)


def with_edges(rows: np.ndarray) -> np.ndarray:
    """Square images and how much they darken and lighten from pixel to pixel, downwards and rightwards.

    (n, side²) → (n, side² + 4 side (side - 1)).
    """
    side = round(rows.shape[1] ** 0.5)
    images = rows.reshape(-1, side, side)
    steps = [np.diff(images, axis=axis).reshape(len(rows), -1) for axis in (1, 2)]
    return np.concatenate([rows, *(np.maximum(sign * step, 0) for step in steps for sign in (1, -1))], axis=1)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """The diabetes data, standardised: 442 rows of 10 features and a target of mean 0 and variance 1."""
    data = sklearn("diabetes")
    return standardised(data.data), standardised(data.target)


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """The breast cancer data: 569 rows of 30 standardised features, and labels 0.0 or 1.0."""
    data = sklearn("breast_cancer")
    return standardised(data.data), data.target.astype(np.float64)


def standardised(x: np.ndarray) -> np.ndarray:
    """`x` with mean 0 and variance 1 over rows."""
    return (x - x.mean(0)) / x.std(0)


def load_idx(path: str | Path) -> np.ndarray:
    """An array from an IDX file (MNIST's format), plain or gzipped.

    Raises
    ------
    DataError : the file has another format or is cut short.
    """
    path = Path(path)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise DataError(f"{path} is not an IDX file")
    rank = content[3]
    if len(content) < 4 + 4 * rank:
        raise DataError(f"{path} is cut short within its {rank} sizes")
    shape = np.frombuffer(content, ">u4", rank, 4).astype(int)
    dtype = np.dtype(IDX_TYPES[content[2]])
    body = content[4 + 4 * rank :]
    if len(body) != int(np.prod(shape)) * dtype.itemsize:
        raise DataError(f"{path}: {len(body)} bytes of data, but shape {tuple(shape.tolist())} of {dtype.name}")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def load_npz(path: str | Path, name: str | None = None) -> np.ndarray:
    """Array `name` (default: the only one) of an `.npz` file; pickled objects are refused."""
    with np.load(path, allow_pickle=False) as archive:
        if name is None and len(archive.files) != 1:
            raise DataError(f"{path} has arrays {archive.files}: say which")
        key = archive.files[0] if name is None else name
        if key not in archive.files:
            raise DataError(f"{path} has no array {name!r}, it has {archive.files}")
        return archive[key]


def openml(name: str, version: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of an OpenML data set, through scikit-learn's `fetch_openml` (needs the internet once)."""
    try:
        from sklearn.datasets import fetch_openml
    except ImportError:
        raise PplError(MISSING) from None
    data = fetch_openml(name, version=version, as_frame=False)
    return np.asarray(data.data), np.asarray(data.target)


def binary_images(source: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out rows of bits: scikit-learn's digits, or an IDX or `.npz` file of grey images.

    Grey values are cut at half of the largest; the last sixth of the rows is held out.
    """
    if source is None:
        return digits()
    path = Path(source)
    raw = load_npz(path) if path.suffix == ".npz" else load_idx(path)
    rows = (raw.reshape(len(raw), -1) > raw.max() / 2).astype(np.float32)
    held_out = max(1, len(rows) // 6)
    return rows[:-held_out], rows[-held_out:]


def manual() -> str:
    """The text of Python's language reference, as it ships with every interpreter (about 600 kB)."""
    from pydoc_data.topics import topics

    return "\n".join(topics[key] for key in sorted(topics))


def words(text: str) -> list[str]:
    """The words of a text: lower-case letters, digits and underscores."""
    return re.findall(r"[a-z_][a-z_0-9]+", text.lower())


def stream_words(path: str | Path, chunk: int = 1 << 20) -> Iterator[list[str]]:
    """The words of a text file, chunk by chunk, so that the file need not fit in memory."""
    left = ""
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        while piece := file.read(chunk):
            head, space, tail = (left + piece).rpartition(" ")
            left = tail if space else left + piece
            if space:
                yield words(head)
    if left:
        yield words(left)
