"""Train one model on the rows of several processes (extra `mpi`).

Every process makes a part of the rows. Losses and parameters are those of one process up to the order of sums.

Run: python examples/mpi_train.py
Run: mpiexec -n 2 python examples/mpi_train.py
"""

import numpy as np
from mpi4py import MPI

import ppl
from ppl import Bernoulli

comm = MPI.COMM_WORLD
ROWS, PIXELS, UNITS = 2000, 64, 16


@ppl.model
def generative(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Bernoulli(logits=ppl.param("prior", np.zeros(UNITS))))
        ppl.sample("x", Bernoulli(logits=ppl.dense("decoder", z, PIXELS)), obs=x)


@ppl.model
def guide(x):
    with ppl.plate("data", x) as x:
        ppl.sample("z", Bernoulli(logits=ppl.dense("encoder", x, UNITS)))


def rows(start, stop):
    """Rows `start` to `stop` of the data set, wherever they are made: a few patterns with noise."""
    patterns = np.random.default_rng(0).random((10, PIXELS)) < 0.3
    made = [np.random.default_rng((1, i)) for i in range(start, stop)]
    flipped = [patterns[r.integers(10)] ^ (r.random(PIXELS) < 0.05) for r in made]
    return np.array(flipped, np.float32).reshape(-1, PIXELS)


def main():
    """Train, and return the run and the bound per row."""
    mine = rows(ROWS * comm.rank // comm.size, ROWS * (comm.rank + 1) // comm.size)
    program = ppl.compile(ppl.elbo(generative, guide), data=ppl.spec((None, PIXELS), np.float32), particles=2)
    fit = ppl.fit(program.on(comm), mine, epochs=20, batch_size=100, optimizer=ppl.optim.Adam(3e-3), seed=0)
    bound = -program.on(comm).value(fit.state, mine) / ROWS
    if comm.rank == 0:
        print(
            f"{comm.size} processes: bound {-fit.history['loss'][:20].mean():.2f} in the first epoch, {bound:.2f} now"
        )
    return fit, bound


if __name__ == "__main__":
    main()
