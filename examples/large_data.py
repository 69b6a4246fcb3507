"""Data larger than memory: a fit on the rows of a memory-mapped file, of a Parquet file, and of an HDF5 file.

A function of `batches=` opens one pass over the data. With its arguments `epoch` and `start` a run that is interrupted
goes on at the same batch. A thread reads ahead (`prefetch=`).

Run: python examples/large_data.py
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import ppl


@ppl.model
def regression(x, y):
    """y ~ N(x · w, 1)."""
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", ppl.Normal(np.sum(x * ppl.param("w", np.zeros(3))), 1.0), obs=y)


def parquet_batches(path: Path, rows: int = 100):
    """Batches of a Parquet file, its row groups in another order in every epoch."""
    from pyarrow import parquet

    def batches(epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        file = parquet.ParquetFile(path)
        groups = np.random.default_rng(epoch).permutation(file.num_row_groups).tolist()
        for i, batch in enumerate(file.iter_batches(rows, row_groups=groups)):
            if i >= start:
                columns = {name: batch.column(name).to_numpy() for name in batch.schema.names}
                yield np.stack([columns[f"x{j}"] for j in range(3)], axis=1), columns["y"]

    return batches


def hdf5_batches(path: Path, rows: int = 100):
    """Batches of an HDF5 file: blocks of neighbouring rows, in another order in every epoch."""
    import h5py

    def batches(epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with h5py.File(path, "r") as file:
            for i in np.random.default_rng(epoch).permutation(len(file["y"]) // rows)[start:]:
                yield file["x"][i * rows : (i + 1) * rows], file["y"][i * rows : (i + 1) * rows]

    return batches


def main(folder: str = "outputs") -> dict[str, np.ndarray]:
    """Write 3000 rows to the three kinds of files, and fit on each."""
    import h5py
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=3000)
    Path(folder).mkdir(exist_ok=True)
    np.save(f"{folder}/x.npy", x), np.save(f"{folder}/y.npy", y)
    table = pa.table({**{f"x{j}": x[:, j] for j in range(3)}, "y": y})
    parquet.write_table(table, f"{folder}/rows.parquet", row_group_size=500)
    with h5py.File(f"{folder}/rows.h5", "w") as file:
        file["x"], file["y"] = x, y
    program = ppl.compile(ppl.likelihood(regression), data=(ppl.spec((None, 3)), ppl.spec((None,))))
    options = {"epochs": 20, "optimizer": ppl.optim.Adam(0.02), "progress": False}
    mapped = [np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in "xy"]
    fits = {"memory-mapped": ppl.fit(program, *mapped, batch_size=100, prefetch=2, **options)}
    for name, batches in (("Parquet", parquet_batches(f"{folder}/rows.parquet")),
                          ("HDF5", hdf5_batches(f"{folder}/rows.h5"))):  # fmt: skip
        fits[name] = ppl.fit(program, batches=batches, total_rows=3000, prefetch=2, **options)
    for name, fit in fits.items():
        print(f"{name:14} w = {np.round(fit.params['w'], 2)}")
    return {name: fit.params["w"] for name, fit in fits.items()}


if __name__ == "__main__":
    main()
