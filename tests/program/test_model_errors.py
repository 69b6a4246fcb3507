"""A model declared wrongly is, through `ppl.compile`, one error that names node, shapes and the user's line."""

import math

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal, Uniform
from ppl.errors import DataError, EstimatorError, ModelError, ShapeError

X = np.zeros((5, 3))
HERE = r"at test_model_errors.py:\d+: .*"


def z(shape=()):
    return ppl.sample("z", Normal(np.zeros(shape), 1.0))


def two_nodes_of_one_name():
    z()
    ppl.sample("z", Normal(0.0, 1.0))


def two_costs_of_one_name():
    ppl.cost("c", z())
    ppl.cost("c", 1.0)


def two_params_of_one_name():
    ppl.cost("c", ppl.param("w", 0.0) + ppl.param("w", 1.0))


def cost_with_event_axes():
    ppl.cost("c", z(3))


def plate_left(x):
    with ppl.plate("rows", x) as x:
        value = np.sum(x)
    ppl.cost("c", value)


def plates_mixed(x, y):
    with ppl.plate("rows", x) as x:
        value = np.sum(x)
    with ppl.plate("columns", y) as y:
        ppl.cost("c", value * np.sum(y))


def python_if():
    if z() > 0:
        ppl.cost("c", 1.0)


def python_max():
    ppl.cost("c", max(z(), 0.0))


def array_of_values():
    v = z()
    ppl.cost("c", np.sum(np.array([v, v])))


def python_float():
    ppl.cost("c", math.exp(z()))


def index_of_a_list():
    k = ppl.sample("k", Categorical(logits=np.zeros(3)))
    ppl.cost("c", [1.0, 2.0, 3.0][k])


def index_of_an_array():
    k = ppl.sample("k", Categorical(logits=np.zeros(3)))
    ppl.cost("c", np.arange(3.0)[k])


def shapes_of_a_product():
    ppl.cost("c", z(3) @ np.ones(4))


def shapes_of_a_sum():
    ppl.cost("c", np.sum(z(3) + np.ones(4)))


def shapes_of_parameters():
    ppl.sample("z", Normal(np.zeros(3), np.ones(4)))


def negative_scale():
    ppl.sample("z", Normal(0.0, -1.0))


def probability_above_one():
    ppl.sample("z", Bernoulli(1.5))


def no_distribution():
    ppl.sample("z", 3.0)


def observation_of_another_shape(x):
    with ppl.plate("rows", x) as x:
        ppl.sample("x", Normal(0.0, 1.0), obs=x)


def observation_without_a_plate(x):
    ppl.sample("x", Normal(np.zeros(3), 1.0), obs=x)


def assignment():
    v = z(3)
    v[0] = 1.0


def unknown_function():
    ppl.cost("c", np.median(z(3)))


def unknown_constraint():
    ppl.param("w", 1.0, constraint="postive")


def start_against_constraint():
    ppl.param("w", -1.0, constraint="positive")


def plate_of_two_lengths():
    with ppl.plate("rows", np.zeros(3), np.zeros(4)) as (a, b):
        ppl.cost("c", a * b)


def entry_of_an_array():
    x = np.zeros(3)
    x[0] = z()


def row_of_an_array():
    x = np.zeros((2, 3))
    x[1] = z(3)


def filled_array():
    np.zeros(3).fill(z())


def copied_to_an_array():
    np.copyto(np.zeros(3), z(3))


def entry_of_a_value():
    value = z(3)
    value[0] = 1.0


def sum_in_place():
    x = np.zeros(3)
    x += z(3)


def objects_of_values():
    x = np.array([0.0, 0.0], object)
    x[0] = z()
    ppl.cost("c", np.sum(ppl.constant(1.0) * x))


def collect_of_data(x):
    with ppl.plate("rows", x) as x:
        ppl.cost("c", np.sum(ppl.collect(x, "rows")))


WRONG = [
    (two_nodes_of_one_name, ModelError, rf"two nodes are called 'z'\n  first {HERE}\n  again {HERE}"),
    (two_costs_of_one_name, ModelError, rf"two nodes are called 'c'\n  first {HERE}\n  again {HERE}"),
    (two_params_of_one_name, ModelError, rf"param 'w' is declared twice.*shared=True.*\n  first {HERE}\n  again"),
    (cost_with_event_axes, ShapeError, rf"cost 'c' must be a scalar per row, its event shape is \(3,\).*\n  {HERE}"),
    (plate_left, ModelError, rf"plate 'rows' is used outside it \(open plates: none\).*\n  {HERE}"),
    (plates_mixed, ModelError, rf"plate 'rows' is used outside it \(open plates: 'columns'\).*\n  {HERE}"),
    (python_if, ModelError, rf"truth value.*np.where.*\n  {HERE}if z\(\) > 0"),
    (python_max, ModelError, rf"truth value.*np.maximum.*\n  {HERE}max"),
    (array_of_values, ModelError, rf"converted to an array.*np.stack.*\n  {HERE}np.array"),
    (entry_of_an_array, ModelError, rf"written into an array.*in a list and write np.stack.*\n  {HERE}x\[0\] ="),
    (row_of_an_array, ModelError, rf"written into an array.*in a list and write np.stack.*\n  {HERE}x\[1\] ="),
    (filled_array, ModelError, rf"written into an array.*np.stack.*\n  {HERE}np.zeros"),
    (copied_to_an_array, ModelError, rf"np.copyto has no rule.*in a list and write np.stack.*\n  {HERE}np.copyto"),
    (entry_of_a_value, ModelError, rf"entry of a value was assigned.*np.stack.*np.where.*\n  {HERE}value"),
    (sum_in_place, ModelError, rf"use a = a \+ b rather than array \+= value.*\n  {HERE}x \+="),
    (objects_of_values, ModelError, rf"dtype object: it holds symbolic values; .*np.stack.*\n  {HERE}ppl.cost"),
    (python_float, ModelError, rf"converted to a float.*np.exp.*\n  {HERE}math.exp"),
    (index_of_a_list, ModelError, rf"Python index.*ppl.constant.*\n  {HERE}\[k\]"),
    (index_of_an_array, ModelError, rf"ppl.constant\(array\)\[index\].*\n  {HERE}\[k\]"),
    (shapes_of_a_product, ShapeError, rf"\(3,\) and \(4,\).*\n  {HERE}@"),
    (shapes_of_a_sum, ShapeError, rf"\(3,\).*\(4,\).*\n  {HERE}np.ones"),
    (shapes_of_parameters, ShapeError, rf"Normal.*loc \(3,\), scale \(4,\)\n  {HERE}"),
    (negative_scale, ModelError, rf"Normal: scale must be positive.*-1.0\n  {HERE}"),
    (probability_above_one, ModelError, rf"Bernoulli: probs.*1.5\n  {HERE}"),
    (no_distribution, ModelError, rf"node 'z': the second argument is a distribution, not 3.0\n  {HERE}"),
    (
        observation_of_another_shape,
        ShapeError,
        rf"node 'x': obs has event shape \(3,\), the distribution \(\)\n  {HERE}",
    ),
    (
        observation_without_a_plate,
        ShapeError,
        rf"shape \(5, 3\).*\(3,\); open a plate over the rows of 'x'.*\n  {HERE}",
    ),
    (assignment, ModelError, rf"immutable.*\n  {HERE}"),
    (unknown_function, ModelError, rf"np.median has no rule.*\n  {HERE}"),
    (unknown_constraint, ModelError, rf"param 'w': unknown constraint 'postive'.*positive.*\n  {HERE}"),
    (start_against_constraint, ModelError, rf"param 'w': 'positive'.*\n  {HERE}"),
    (plate_of_two_lengths, ShapeError, rf"plate 'rows': leading lengths differ \(.*3.*4\)\n  {HERE}"),
    (collect_of_data, ModelError, rf"collect: the rows of plate 'rows' are known at run time only.*\n  {HERE}"),
]


@pytest.mark.parametrize(("function", "error", "message"), WRONG, ids=[f.__name__ for f, _, _ in WRONG])
def test_a_wrong_model_is_one_error_with_name_shapes_and_line(function, error, message):
    model = ppl.model(function)
    objective = ppl.likelihood(model) if "observation" in function.__name__ else model
    with pytest.raises(error, match=message):
        ppl.compile(objective, data=tuple(X for _ in model.arguments))


def test_a_wrong_model_does_not_spoil_the_next():
    test_a_wrong_model_is_one_error_with_name_shapes_and_line(plate_left, ModelError, "plate 'rows'")
    with pytest.raises(ModelError, match="outside a model"):
        ppl.param("w", 0.0)
    ppl.compile(ppl.model(lambda: ppl.cost("c", ppl.param("w", 0.0) ** 2)))


def test_what_is_no_objective_says_what_to_do():
    @ppl.model
    def silent():
        ppl.sample("z", Normal(0.0, 1.0))

    @ppl.model
    def observes():
        ppl.sample("y", Normal(ppl.param("m", 0.0), 1.0), obs=1.0)

    with pytest.raises(ModelError, match=r"'silent' declares no ppl.cost"):
        ppl.compile(silent)
    with pytest.raises(ModelError, match=r"'observes' observes y.*ppl.elbo\(model, guide\) or ppl.likelihood\(model\)"):
        ppl.compile(observes)
    with pytest.raises(ModelError, match=r"takes a @ppl.model"):
        ppl.compile(lambda: None)
    with pytest.raises(ModelError, match="'silent' observes nothing"):
        ppl.compile(ppl.likelihood(silent))


def test_objectives_take_models():
    def plain():
        return None

    with pytest.raises(ModelError, match=r"elbo: the guide is a function decorated with @ppl.model, not <function"):
        ppl.elbo(jump, plain)
    with pytest.raises(ModelError, match=r"likelihood: the model is a function decorated with @ppl.model"):
        ppl.likelihood(plain)


@pytest.mark.parametrize("particles", [0, -1, 2.5, "2"])
def test_the_particle_count_is_a_whole_number(particles):
    with pytest.raises(EstimatorError, match="particles must be a whole number of at least 1"):
        ppl.compile(jump, particles=particles)


def test_latents_must_match_between_model_and_guide():
    @ppl.model
    def guide():
        ppl.sample("u", Normal(ppl.param("m", 0.0), 1.0))

    @ppl.model
    def model():
        ppl.sample("y", Normal(z(), 1.0), obs=0.5)

    @ppl.model
    def wide_guide():
        ppl.sample("z", Normal(ppl.param("m", np.zeros(2)), 1.0))

    with pytest.raises(ModelError, match=r"latent 'z' of model 'model'.*not sampled by guide 'guide'.*\['u'\]"):
        ppl.compile(ppl.elbo(model, guide))
    with pytest.raises(
        ShapeError, match=rf"node 'z' is float of event shape \(2,\) in the guide.*\(\).*\n  guide {HERE}"
    ):
        ppl.compile(ppl.elbo(model, wide_guide))


@ppl.model
def jump():
    ppl.cost("c", ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0)) > 0.5)


def test_estimator_errors_name_node_line_and_reason():
    estimators = ppl.estimators
    with pytest.raises(EstimatorError, match=r"Pathwise\(\).*node 'z' \(test_model_errors.py:\d+: .*jump.*cost 'c'"):
        ppl.compile(jump, estimators.Pathwise())
    with pytest.raises(EstimatorError, match="'zz' matches no random node; nodes: z"):
        ppl.compile(jump, {"zz": estimators.ScoreFunction()})
    with pytest.raises(EstimatorError, match="not an estimator instance such as"):
        ppl.compile(jump, {"z": estimators.ScoreFunction})
    with pytest.raises(EstimatorError, match="leave-one-out baseline needs particles >= 2"):
        ppl.compile(jump, estimators.ScoreFunction("leave_one_out"))
    with pytest.raises(EstimatorError, match="'pathwise'"):
        ppl.compile(jump, "pathwise")


def test_a_node_that_nothing_fits_lists_every_reason():
    @ppl.model
    def moving_edge():
        ppl.cost("c", ppl.sample("z", Uniform(0.0, ppl.param("a", 1.0, constraint="positive"))) > 0.5)

    with pytest.raises(EstimatorError, match="no admissible estimator for node 'z'") as caught:
        ppl.compile(moving_edge)
    text = str(caught.value)
    assert "the support moves with" in text and "a jump on the way to cost 'c'" in text
    assert all(name in text for name in ("Enumerate", "Pathwise", "Rebar", "ScoreFunction", "Relaxed"))


def test_the_automatic_choice_never_takes_a_path_through_a_jump():
    plan = ppl.compile(jump).explain()
    assert isinstance(plan["z"].estimator, ppl.estimators.ScoreFunction)


def test_an_argument_with_a_default_is_told_from_a_static_one():
    @ppl.model
    def ahead(y, horizon=0):
        ppl.sample("y", Normal(ppl.param("a", 0.0), 1.0), obs=y)

    with pytest.raises(DataError, match=r"stands after a star: def f\(..., \*, horizon=0\)"):
        ppl.compile(ppl.likelihood(ahead), data=(1.0,))
    with pytest.raises(ModelError, match=r"'horizon' is a data argument.*def ahead\(..., \*, horizon\)"):
        ahead.bind(horizon=3)
