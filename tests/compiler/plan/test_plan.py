"""The plan: the decision table row by row, who has precedence, what is refused, and what `explain()` says."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical, Uniform, estimators
from ppl.compiler.plan.decision_table import TABLE, choose_estimators
from ppl.compiler.plan.plan import MeasuredCandidate
from ppl.compiler.surrogate.variants import build_gradient
from ppl.errors import EstimatorError
from ppl.estimators import (
    ARM,
    CategoricalDisARM,
    DisARM,
    Enumerate,
    MeasureValued,
    NotNeeded,
    Pathwise,
    Rebar,
    Relaxed,
    ScoreFunction,
    StraightThrough,
)
from tests.helpers import law_bounds  # noqa: F401 - adds to the laws
from tests.helpers.law_graphs import LAWS

X = np.array([0.5, -1.0, 2.0])


def bernoulli(units: int, cost=None):
    """A model of one Bernoulli layer 'b' under a coupled quadratic cost."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(units))))
        ppl.cost("loss", cost(b) if cost else (np.sum(b) - 0.3) ** 2)

    return model


def jump(b):
    return np.where(np.sum(b) > 1.5, 1.0, 0.0)


def normal(cost):
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 1.0))
        ppl.cost("loss", cost(z))

    return model


def plan_of(objective, *data, **options):
    return ppl.compile(objective, data=data or None, **options).explain()


def refusal(objective, *data, **options) -> str:
    with pytest.raises(EstimatorError) as error:
        plan_of(objective, *data, **options)
    return str(error.value)


# --- the table ----------------------------------------------------------------------------------


def test_small_supports_are_enumerated():
    choice = plan_of(bernoulli(2))["b"]
    assert choice.estimator == Enumerate() and choice.copies == 4 and not choice.biased
    assert choice.reason.startswith("exact") and "4 joint values" in choice.reason
    assert choice.costs == ("loss",) and choice.distribution == "Bernoulli"


def test_smooth_continuous_nodes_are_pathwise():
    plan = plan_of(normal(lambda z: z**2))
    assert plan["z"].estimator == Pathwise() and plan.copies == 1
    rejected = dict(plan["z"].rejected)
    assert "no finite support" in rejected["Enumerate()"]
    assert "ranked after Pathwise()" in rejected["ScoreFunction(baseline='moving_average')"]
    assert "no relaxation" in rejected["Rebar()"]


def test_kinks_are_pathwise_too():
    assert plan_of(normal(np.abs))["z"].estimator == Pathwise()


def one_hot(cost=None):
    """A model of four one-hot units 'x' of three classes."""

    @ppl.model
    def model():
        x = ppl.sample("x", OneHotCategorical(logits=ppl.param("a", np.zeros((4, 3)))))
        ppl.cost("loss", cost(x) if cost else (np.sum(x * np.arange(3.0)) - 0.3) ** 2)

    return model


def test_bernoulli_nodes_get_disarm():
    """Whether the cost relaxes or not, and whatever the number of particles."""
    for options in ({}, {"particles": 2}, {"max_copies": 2}):
        for cost in (None, jump):
            choice = plan_of(bernoulli(5, cost), **options)["b"]
            assert choice.estimator == DisARM() and choice.copies == 2 and not choice.biased
    rejected = dict(choice.rejected)
    assert rejected["Enumerate()"] == "32 copies in all exceed max_copies=2"
    assert "no differentiable sampling path" in rejected["Pathwise()"]
    assert rejected["ARM()"] == "ranked after DisARM()"


def test_without_copies_the_score_function_remains():
    choice = plan_of(bernoulli(5), max_copies=1)["b"]
    assert choice.estimator == ScoreFunction("moving_average")
    assert dict(choice.rejected)["DisARM()"] == "2 copies in all exceed max_copies=1"
    assert "particles >= 2" in dict(choice.rejected)["ScoreFunction(baseline='leave_one_out')"]


def test_several_particles_serve_as_baseline():
    assert plan_of(bernoulli(5), particles=2, max_copies=1)["b"].estimator == ScoreFunction("leave_one_out")
    assert plan_of(one_hot(), particles=2)["x"].estimator == ScoreFunction("leave_one_out")


def test_relaxable_classes_get_rebar_and_others_an_antithetic_pair():
    choice = plan_of(one_hot())["x"]
    assert choice.estimator == Rebar() and choice.copies == 3
    assert "needs Bernoulli units" in dict(choice.rejected)["DisARM()"]
    choice = plan_of(one_hot(lambda x: jump(x[:, 0])))["x"]
    assert choice.estimator == CategoricalDisARM() and choice.copies == 2
    assert "jump" in dict(choice.rejected)["Rebar()"]
    assert plan_of(one_hot(), max_copies=2)["x"].estimator == CategoricalDisARM()


def test_measure_valued_pairs_are_taken_by_name_only():
    rejected = dict(plan_of(LAWS["jump"]().objective)["z"].rejected)
    assert rejected["MeasureValued()"] == "ranked after ScoreFunction(baseline='moving_average')"
    choice = plan_of(LAWS["jump"]().objective, estimators=MeasureValued())["z"]
    assert choice.estimator == MeasureValued() and choice.copies == 3
    assert "2 evaluations beside the primal's" in choice.reason
    assert plan_of(bernoulli(2), estimators={"b": ARM()})["b"].copies == 2


def test_the_indicator_of_a_normal_gets_a_score_function():
    """E[1{z > 0.5}]: a pathwise gradient would silently be 0."""
    plan = plan_of(LAWS["jump"]().objective)
    assert plan["z"].estimator == ScoreFunction("moving_average")
    why = dict(plan["z"].rejected)["Pathwise()"]
    assert "a jump on the way to cost 'loss'" in why and "pathwise gradient would miss it" in why
    assert why in " ".join(str(plan).split())


def test_nodes_without_a_parameter_upstream_need_none():
    @ppl.model
    def model():
        e = ppl.sample("e", Normal(0.0, 1.0))
        ppl.sample("idle", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("loss", (e - ppl.param("m", 0.0)) ** 2)

    plan = plan_of(model)
    assert plan["e"].estimator == NotNeeded() and "no learnable parameter" in plan["e"].reason
    assert plan["idle"].estimator == NotNeeded() and "no cost downstream" in plan["idle"].reason
    assert plan.as_dict() == {} and plan_of(model, estimators=ScoreFunction()).as_dict() == {}


def test_biased_rows_need_allow_bias():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(40))))
        ppl.cost("loss", np.sum(b) ** 2)

    choice = plan_of(model)["b"]
    assert choice.estimator == DisARM() and "allow_bias" in dict(choice.rejected)["Relaxed()"]
    allowed = plan_of(model, allow_bias=True)["b"]
    assert allowed.estimator == DisARM(), "unbiased rows still rank first"
    assert dict(allowed.rejected)["StraightThrough()"] == "ranked after DisARM()"


def _learned_edges(event):
    """A node that nothing unbiased fits: learned bounds, and a jump on the way to the cost."""

    @ppl.model
    def model():
        z = ppl.sample("z", Uniform(0.0, np.exp(ppl.param("s", np.zeros(event)))))
        ppl.cost("loss", np.sum(np.where(z > 0.5, 1.0, 0.0)))

    return model


def test_no_admissible_estimator_is_an_error_with_every_reason():
    message = refusal(_learned_edges(()))
    line = inspect.getsourcelines(_learned_edges)[1] + 5
    assert f"no admissible estimator for node 'z' (test_plan.py:{line}" in message
    for row in (row for row in TABLE if row.listed):
        assert f"{row.estimator.label}:" in message
    assert "support moves" in message and "a jump on the way" in message


def test_the_table_lists_unbiased_estimators_first_and_every_registered_one():
    biased = [row.estimator.biased for row in TABLE if row.listed]
    assert biased == sorted(biased)
    assert {type(row.estimator).__name__ for row in TABLE} == set(estimators.REGISTRY)


# --- copies -------------------------------------------------------------------------------------


def test_max_copies_bounds_what_the_automatic_choice_spends():
    three = LAWS["three_layers"]().objective
    for bound in (1, 2, 3, 4, 7, 8):
        plan = plan_of(three, max_copies=bound)
        assert plan.copies <= bound
    assert [e.label for e in plan_of(three, max_copies=8).estimators.values()] == ["Enumerate()"] * 3
    assert all(isinstance(e, ScoreFunction) for e in plan_of(three, max_copies=1).estimators.values())
    assert plan_of(bernoulli(5), max_copies=2)["b"].estimator == DisARM()
    chosen = list(plan_of(three, max_copies=4).estimators.values())
    assert chosen == [Enumerate(), Enumerate(), ScoreFunction("moving_average")]


def test_named_estimators_may_exceed_max_copies_and_count():
    plan = plan_of(LAWS["three_layers"]().objective, estimators={"b1": Rebar(), "b2": Rebar()})
    assert plan.copies >= 5 and plan["b3"].estimator == ScoreFunction("moving_average")


@pytest.mark.parametrize("name", ["three_layers", "two_layers", "normal_between"])
@pytest.mark.parametrize("requested", [Rebar(), ScoreFunction()], ids=["rebar", "score"])
def test_the_plan_counts_the_copies_that_expansion_makes(name, requested):
    graph = LAWS[name]()
    discrete = {n: requested for n, rn in graph.compile().prepare().graph.nodes.items() if rn.dist.discrete}
    compiled = graph.compile(discrete).prepare()
    copies = build_gradient(compiled.graph, compiled.plan.estimators).copies
    assert max(copies.values(), default=1) == compiled.plan.copies


def test_enumerations_with_a_common_cost_share_one_budget():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(7))))
        c = ppl.sample("c", Bernoulli(logits=ppl.param("c0", np.zeros(7))))
        ppl.cost("loss", np.sum(b) * np.sum(c))

    message = refusal(model, estimators=Enumerate())
    assert "b, c together" in message and "1.64e+04 joint states" in message and "4096" in message


def test_enumerating_too_much_names_the_budget():
    message = refusal(bernoulli(13), estimators={"b": Enumerate()})
    assert "8192 joint values exceed the budget of 4096" in message
    assert plan_of(bernoulli(13), estimators={"b": Enumerate(budget=8192)}).copies == 8192


# --- naming estimators --------------------------------------------------------------------------


@ppl.model
def deep(x):
    with ppl.plate("data", x) as x:
        h1 = ppl.sample("enc/h1", Bernoulli(logits=ppl.param("a", np.zeros(6)) * x))
        h2 = ppl.sample("enc/h2", Bernoulli(logits=h1 + ppl.param("c", np.zeros(6))))
        z = ppl.sample("z", Normal(np.sum(h2), np.exp(ppl.param("s", 0.0))), estimator=ScoreFunction())
        ppl.cost("loss", z**2)


def test_one_estimator_for_all_nodes_except_pins():
    plan = plan_of(deep, X, estimators=ScoreFunction("moving_average"))
    assert plan["enc/h1"].estimator == plan["enc/h2"].estimator == ScoreFunction("moving_average")
    assert plan["z"].estimator == ScoreFunction()
    assert plan["enc/h1"].reason.startswith("named by the user")
    assert plan["z"].plates == ("data",)


def test_globs_first_match_first_and_unlisted_nodes_are_automatic():
    plan = plan_of(deep, X, estimators={"enc/h2": Rebar(), "enc/*": ScoreFunction()})
    assert plan["enc/h1"].estimator == ScoreFunction() and plan["enc/h2"].estimator == Rebar()
    partly = plan_of(deep, X, estimators={"*h2": ScoreFunction()}, max_copies=3)
    assert partly["enc/h2"].estimator == ScoreFunction() and partly["enc/h1"].estimator == DisARM()


def test_a_pin_precedes_the_dict():
    assert plan_of(deep, X, estimators={"z": Pathwise()})["z"].estimator == ScoreFunction()


def test_a_glob_that_matches_nothing_is_an_error():
    message = refusal(deep, X, estimators={"dec/*": Rebar()})
    assert "'dec/*' matches no random node" in message and "enc/h1, enc/h2, z" in message


@pytest.mark.parametrize("wrong", ["rebar", Rebar, {"b": "rebar"}, {"b": Rebar}, 3])
def test_things_that_are_no_estimators_are_refused(wrong):
    assert "stimator" in refusal(bernoulli(2), estimators=wrong)


def test_a_pin_that_is_no_estimator_is_refused():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)), estimator="rebar")
        ppl.cost("loss", b)

    assert "sample('b', estimator=…) is 'rebar'" in refusal(model)


def test_a_named_estimator_that_does_not_fit_says_node_reason_and_line():
    message = refusal(bernoulli(2), estimators={"b": Pathwise()})
    line = inspect.getsourcelines(bernoulli)[1] + 5
    assert f"Pathwise() cannot be used for node 'b' (test_plan.py:{line}" in message
    assert "Bernoulli has no differentiable sampling path" in message


def test_pathwise_by_name_through_a_jump_is_refused():
    message = refusal(LAWS["jump"]().objective, estimators=Pathwise())
    assert "'z'" in message and "jump" in message


def test_leave_one_out_needs_two_particles():
    message = refusal(bernoulli(2), estimators={"b": ScoreFunction("leave_one_out")})
    assert "'b'" in message and "particles >= 2" in message
    plan = plan_of(bernoulli(2), estimators={"b": ScoreFunction("leave_one_out")}, particles=2)
    assert plan["b"].estimator == ScoreFunction("leave_one_out") and plan.particles == 2


def test_biased_estimators_may_be_named_without_allow_bias():
    plan = plan_of(bernoulli(2), estimators={"b": StraightThrough()})
    assert plan["b"].biased and plan["b"].estimator == StraightThrough()


def test_options_are_checked():
    with pytest.raises(EstimatorError, match="temperature must be positive"):
        Rebar(temperature=0.0)
    with pytest.raises(EstimatorError, match="temperature must be positive"):
        Relaxed(temperature=-1.0)
    with pytest.raises(EstimatorError, match="unknown baseline"):
        ScoreFunction("learnt")
    for bad in (True, [0.3], ppl.constant(0.3)):
        with pytest.raises(EstimatorError, match="unknown baseline"):
            ScoreFunction(bad)
    for bad in (np.nan, np.inf):
        with pytest.raises(EstimatorError, match="must be finite"):
            ScoreFunction(bad)
    with pytest.raises(EstimatorError, match="particles"):
        ppl.compile(bernoulli(2), particles=0)


# --- the plan as data and text ------------------------------------------------------------------


SHOWN = {"0.7": 0.7, "Hyper(name='c', default=-1.5)": ppl.hyper("c", -1.5)}


@pytest.mark.parametrize("shown", SHOWN)
def test_a_constant_baseline_is_shown_and_can_be_pasted(shown):
    plan = plan_of(bernoulli(2), estimators={"b": ScoreFunction(SHOWN[shown])})
    assert plan["b"].estimator.label == f"ScoreFunction(baseline={shown})"
    assert eval(repr(plan.as_dict()), vars(estimators).copy()) == plan.as_dict()


def test_as_dict_can_be_pasted_into_code():
    named = {"enc/h1": Rebar(temperature=ppl.hyper("tau", 0.3), eta=0.5), "enc/h2": Relaxed(hard=True)}
    plan = plan_of(deep, X, estimators=named)
    pasted = eval(repr(plan.as_dict()), vars(estimators).copy())
    assert pasted == plan.as_dict()
    again = plan_of(deep, X, estimators=pasted)
    assert again.estimators == plan.estimators
    automatic = plan_of(deep, X)
    again = plan_of(deep, X, estimators=eval(repr(automatic.as_dict()), vars(estimators).copy()))
    assert again.estimators == automatic.estimators and again.copies == automatic.copies


def test_labels_read_as_one_would_write_them():
    assert Rebar().label == "Rebar()" and Rebar(0.3).label == "Rebar(temperature=0.3)"
    assert ScoreFunction("leave_one_out").label == "ScoreFunction(baseline='leave_one_out')"


def test_the_plan_indexes_and_prints():
    plan = plan_of(deep, X, estimators={"enc/h1": Relaxed()})
    assert list(plan) == ["enc/h1", "enc/h2", "z"] and len(plan) == 3
    text = str(plan)
    for part in (
        "enc/h1",
        "Bernoulli",
        "data",
        "biased",
        "enc/h2: an antithetic pair",
        "not Enumerate():",
        "copies of",
    ):
        assert part in text


def test_plans_do_not_depend_on_the_order_of_the_dict_entries_of_distinct_nodes():
    graph = ppl.compile(deep, data=(X,)).prepare().graph
    one = choose_estimators(graph, {"enc/h1": Rebar(), "enc/h2": ScoreFunction()})
    two = choose_estimators(graph, {"enc/h2": ScoreFunction(), "enc/h1": Rebar()})
    assert one.estimators == two.estimators and list(one) == list(two)


def test_choosing_changes_neither_the_graph_nor_a_plan():
    graph = ppl.compile(bernoulli(5)).prepare().graph
    summed = choose_estimators(graph, Enumerate())
    assert summed["b"].estimator == Enumerate() and not graph.enumerated
    assert choose_estimators(graph)["b"].estimator == DisARM()
    assert ppl.compile(bernoulli(5), estimators=Enumerate()).prepare().graph.enumerated == {"b"}
    tuned = summed.with_measurements({"b": [MeasuredCandidate(Enumerate(), 1.0)]})
    assert tuned["b"].reason == "the only candidate that was admissible" and "b" in tuned.measured
    assert summed["b"].reason.startswith("named by the user") and "b" not in summed.measured


def test_one_hot_and_integer_categories_get_different_estimators():
    def model(dist):
        @ppl.model
        def inner():
            k = ppl.sample("k", dist(logits=ppl.param("l", np.zeros((4, 3)))))
            ppl.cost("loss", np.sum(k) ** 2 + np.sum(1.0 * k[0]))

        return inner

    assert plan_of(model(OneHotCategorical))["k"].estimator == Rebar()
    assert plan_of(model(Categorical))["k"].estimator == CategoricalDisARM()


# --- all candidates of one node -----------------------------------------------------------------


def test_a_choice_shows_every_candidate_with_cost_bias_variance_and_verdict():
    choice = plan_of(bernoulli(5))["b"]
    assert {type(c.estimator).__name__ for c in choice.candidates} == set(estimators.REGISTRY)
    assert [c.estimator for c in choice.candidates if c.taken] == [DisARM()]
    of = {c.estimator.label: c for c in choice.candidates}
    assert of["Rebar()"].copies == 3 and of["Rebar()"].admissible and of["Rebar()"].verdict == "ranked after DisARM()"
    assert not of["Enumerate()"].admissible and of["Enumerate()"].copies == 32
    assert of["Pathwise()"].copies == 0 and "no differentiable sampling path" in of["Pathwise()"].verdict
    assert all(c.variance and c.verdict for c in choice.candidates)
    text = str(choice)
    for part in ("b: Bernoulli, DisARM()", "→", "taken", "differences in a pair", "biased", "Rebar()", "ranked after"):
        assert part in text
    assert "ScoreFunction(baseline='moving_average')" in text, "labels are not broken"


def test_a_named_node_shows_its_rivals_too():
    choice = plan_of(bernoulli(5), estimators=Rebar(0.3))["b"]
    assert [c.estimator for c in choice.candidates if c.taken] == [Rebar(0.3)]
    assert "antithetic" in next(c.verdict for c in choice.candidates if c.estimator == DisARM())
    assert "named by the user" in str(choice)


def test_the_plan_lists_what_ranks_higher_and_what_else_would_do():
    text = str(plan_of(one_hot()))
    assert "not DisARM(): needs Bernoulli units" in text and "also possible: CategoricalDisARM()" in text
    assert "not Relaxed()" not in text


def test_bounds_get_vimco_where_copies_are_spent():
    objective, data = LAWS["iwae_bernoulli"]().objective, LAWS["iwae_bernoulli"]().data
    assert plan_of(objective, *data)["h"].estimator == DisARM()
    assert plan_of(objective, *data, max_copies=1)["h"].estimator == estimators.Vimco()
    assert plan_of(objective, *data)["h"].plates == ("data", "importance")


def test_the_table_is_the_documented_one():
    ranked = [row.estimator.label for row in TABLE]
    assert ranked[: ranked.index("Analytic()")] == [
        "Enumerate()",
        "SumComponents()",
        "Pathwise()",
        "DisARM()",
        "Vimco()",
        "ScoreFunction(baseline='leave_one_out')",
        "Rebar()",
        "CategoricalDisARM()",
        "ScoreFunction(baseline='moving_average')",
    ]


def test_the_documentation_lists_the_table_and_every_estimator():
    text = (Path(__file__).parents[3] / "docs" / "estimators.md").read_text()
    rows = [line.split("|")[2].strip() for line in text.splitlines() if line[:3] in [f"| {i}" for i in range(1, 9)]]
    ranked = [row.estimator for row in TABLE][: len(rows)]
    assert [eval(row.strip("`"), vars(estimators).copy()) for row in rows] == ranked
    for name in estimators.REGISTRY:
        assert f"`{name}" in text, f"docs/estimators.md does not mention {name}"


def test_no_advice_is_looked_for_in_a_sum_of_very_many_nodes(monkeypatch):
    """It takes a time that grows with the cube of their number: minutes for a loop that is written out."""
    monkeypatch.setattr(
        "ppl.compiler.plan.feasibility.cut_to_budget", lambda *arguments: pytest.fail("advice was looked for")
    )

    @ppl.model
    def coupled():
        coins = [ppl.sample(f"b{i}", Bernoulli(probs=ppl.param(f"p{i}", 0.4))) for i in range(41)]
        ppl.cost("cost", sum(coins) ** 2)

    with pytest.raises(EstimatorError, match=r"joint states for cost 'cost', over the budget of \d+$"):
        ppl.compile(coupled, Enumerate()).explain()
