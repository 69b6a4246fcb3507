"""Names that users choose and emitted code contains: different ones stay different, whatever characters they have."""

import random
import re

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.compiler.lower.sizes import RESERVED_PREFIXES, identifier, value_stem
from ppl.errors import ModelError, TooLargeError

RNG = np.random.default_rng(0)

SHORT, LONG = RNG.normal(size=7), RNG.normal(size=300)

PLAIN, ALIKE = ("a", "b"), ("a b", "a_b")

both = pytest.mark.parametrize("names", [ALIKE, ("é", "ü"), ("a X20_b", "a_X20_X20_b")])


def same(found, expected):
    """Whether the results are the same bits, whatever their names."""
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.tiny
def test_identifiers_can_be_read_back():
    rng = random.Random(0)
    names = {"".join(rng.choices("_X25FA bé.-", k=rng.randrange(9))) for _ in range(20_000)}
    for name in names:
        found = identifier(name)
        assert found == "" or f"n_{found}".isidentifier()
        assert re.sub(r"_X([0-9A-F]+)_", lambda m: chr(int(m[1], 16)), found) == name
    assert identifier("my_rows_2") == "my_rows_2"


@pytest.mark.tiny
@pytest.mark.parametrize("prefix", RESERVED_PREFIXES)
def test_names_of_values_begin_as_no_others_do(prefix):
    assert value_stem(f"{prefix}rows") == f"v_{prefix}rows"
    assert value_stem("b/network.output") == "b_network_output"


def two_plates(first, second):
    @ppl.model
    def model(x, y):
        m, k = ppl.param("m", 0.3), ppl.param("k", 0.2)
        with ppl.plate(first, x) as x:
            ppl.cost("one", (ppl.sample("z", Normal(m, 1.0)) - x) ** 2)
        with ppl.plate(second, y) as y:
            ppl.cost("two", (ppl.sample("u", Normal(k, 1.0)) * y) ** 2)

    return model


@both
def test_plates(names):
    def results(first, second):
        program = ppl.compile(two_plates(first, second), data=(SHORT, LONG), dtype="float64")
        state = program.init(0)
        loss, grads = program.value_and_grad(state, SHORT, LONG, total_rows={first: 70, second: 600})
        return loss, *grads.values(), *program.sample(state, SHORT, LONG, particles=2).values()

    same(results(*names), results(*PLAIN))


def test_arguments():
    def results(first, second):
        scope = {"ppl": ppl}
        exec(
            f"def model({first}, {second}):\n"
            f"    with ppl.plate('data', {first}, {second}) as (x, y):\n"
            "        ppl.cost('c', (ppl.param('m', 0.3) * x - y) ** 2)\n",
            scope,
        )
        program = ppl.compile(ppl.model(scope["model"]), data=(SHORT, SHORT**2), dtype="float64")
        loss, grads = program.value_and_grad(program.init(0), SHORT, SHORT**2)
        return loss, grads["m"]

    same(results("é", "ü"), results(*PLAIN))


@both
@pytest.mark.parametrize("particles", [3, 100_000], ids=["whole", "windows"])
def test_sites(names, particles):
    def results(first, second):
        @ppl.model
        def model(x):
            with ppl.plate("data", x) as x:
                one = ppl.deterministic(first, x + 1.0)
                two = ppl.deterministic(second, x + 2.0)
                ppl.cost("c", (ppl.sample("z", Normal(one, 1.0)) - two) ** 2)

        program = ppl.compile(model, data=SHORT, dtype="float64")
        found = program.sample(program.init(0), SHORT, particles=particles)
        return found[first], found[second], found["z"]

    one, two, _ = found = results(*names)
    same(found, results(*PLAIN))
    np.testing.assert_allclose(two - one, 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    "names",
    [ALIKE, ("shared", "b"), *(pytest.param(x, marks=pytest.mark.slow) for x in (("rest", "b"), ("of_b", "b")))],
)
def test_tables_that_are_trained_row_by_row(names):
    index = RNG.integers(0, 5000, (2, 200))

    def trained(first, second):
        @ppl.model
        def model(i, j):
            one = ppl.param(first, np.linspace(0, 1, 20_000).reshape(5000, 4))
            two = ppl.param(second, np.linspace(1, 2, 20_000).reshape(5000, 4))
            with ppl.plate("data", i, j) as (i, j):
                ppl.cost("c", np.tanh(0.01 * np.sum((one[i] - two[j]) ** 2)))

        program = ppl.compile(model, data=tuple(index), dtype="float64")
        rule = ppl.optim.SGD(0.05)
        fit = ppl.fit(program, *index, batch_size=50, epochs=2, optimizer=rule, progress=False, seed=1)
        start = program.init(0).params
        assert all(np.any(fit.state.params[name] != start[name]) for name in (first, second))
        return fit.state.params[first], fit.state.params[second]

    same(trained(*names), trained(*PLAIN))


def test_the_axis_of_all_particles_has_its_name_for_itself():
    with pytest.raises(ModelError, match="'particles_total' is reserved"):
        ppl.compile(two_plates("particles_total", "data"), data=(SHORT, LONG))


def test_messages_have_the_users_names():
    program = ppl.compile(two_plates("my rows", "data"), data=(SHORT, LONG))
    with pytest.raises(TooLargeError, match=r"my rows=7, .*particles=1099511627776"):
        program.value_and_grad(program.init(0), SHORT, LONG, particles=1 << 40)
