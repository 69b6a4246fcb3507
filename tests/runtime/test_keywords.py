"""A wrong keyword is a TypeError that names the one that was meant, and what there is."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import ppl
from ppl import estimators
from ppl.distributions import REGISTRY
from ppl.names import near

pytestmark = pytest.mark.tiny


@ppl.model
def numbers(x):
    with ppl.plate("data", x) as x:
        ppl.sample("x", ppl.Normal(ppl.param("m", 0.0), 1.0), obs=x)


X = np.ones(3)
CASES = {
    "mean": (lambda: ppl.Normal(mean=0.0), r"Normal has no argument 'mean': did you mean 'loc'\? it takes loc, scale"),
    "sigma": (lambda: ppl.Normal(0.0, sigma=1.0), "did you mean 'scale'"),
    "alpha": (lambda: ppl.Gamma(alpha=1.0), "did you mean 'concentration'"),
    "beta": (lambda: ppl.Gamma(1.0, beta=1.0), "did you mean 'rate'"),
    "p": (lambda: ppl.Bernoulli(p=0.5), "did you mean 'probs'.*it takes probs, logits"),
    "lam": (lambda: ppl.Poisson(lam=3.0), "did you mean 'rate'"),
    "nu": (lambda: ppl.StudentT(nu=3.0), "did you mean 'df'"),
    "cov": (lambda: ppl.MultivariateNormal(0.0, cov=np.eye(2)), "did you mean 'covariance_matrix'"),
    "n": (lambda: ppl.Binomial(n=3, probs=0.5), "did you mean 'total_count'"),
    "logit": (lambda: ppl.Categorical(logit=[0.0, 1.0]), "did you mean 'logits'"),
    "nothing near": (lambda: ppl.Normal(zzz=1.0), r"Normal has no argument 'zzz': it takes loc, scale"),
    "optimizer": (lambda: ppl.optim.Adam(learning_rate=0.1), "Adam has no argument 'learning_rate': did you mean 'lr'"),
    "betas": (lambda: ppl.optim.AdamW(betas=(0.9, 0.99)), "did you mean 'b1' or 'b2'"),
    "schedule": (lambda: ppl.optim.linear(begin=1.0, end=0.0, steps=3), "did you mean 'start'"),
    "estimator": (lambda: estimators.ScoreFunction(baselines="none"), "did you mean 'baseline'"),
    "bijector": (lambda: ppl.bijectors.Affine(shift=1.0), "did you mean 'loc'"),
    "compile": (
        lambda: ppl.compile(ppl.likelihood(numbers), dataset=X),
        r"compile\(\) has no argument .*did you mean 'data'",
    ),
    "fit": (lambda: ppl.fit(None, X, optimiser=None), "did you mean 'optimizer'"),
    "epoch": (lambda: ppl.fit(None, X, epoch=3, optimizer=None), "did you mean 'epochs'"),
    "sample": (lambda: ppl.sample("x", ppl.Normal(0.0, 1.0), observed=1.0), "did you mean 'obs'"),
    "param": (lambda: ppl.param("w", 0.0, constrain="positive"), "did you mean 'constraint'"),
    "elbo": (lambda: ppl.elbo(numbers, guid=numbers), "did you mean 'guide'"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_name_that_was_meant(name):
    make, message = CASES[name]
    with pytest.raises(TypeError, match=message):
        make()


def test_methods_of_programs():
    program = ppl.compile(ppl.likelihood(numbers), data=X)
    state = program.init(0)
    for method in ("step", "value", "value_and_grad", "diagnose", "hvp"):
        with pytest.raises(TypeError, match=rf"{method}\(\) has no argument 'sed': did you mean 'seed'"):
            getattr(program, method)(state, X, sed=1)
    with pytest.raises(TypeError, match="did you mean 'particles'"):
        program.sample(state, X, num_samples=3)


def test_signatures_copies_and_pickles_are_as_they_were():
    assert list(inspect.signature(ppl.Normal).parameters) == ["loc", "scale"]
    assert next(iter(inspect.signature(ppl.optim.Adam).parameters)) == "lr"
    assert "optimizer" in inspect.signature(ppl.fit).parameters and ppl.fit.__doc__
    rule = ppl.optim.Adam(lr=0.1, b1=0.5)
    assert pickle.loads(pickle.dumps(rule)) == copy.copy(rule) == copy.deepcopy(rule) == rule


def test_every_distribution_takes_its_parameters_by_name():
    """And refuses a name that none has."""
    for kind in REGISTRY.values():
        with pytest.raises(TypeError, match=f"{kind.__name__} has no argument 'nobody_calls_it_so': it takes"):
            kind(nobody_calls_it_so=1.0)


def test_near():
    assert near("sd", ["loc", "scale"]) == ["scale"] and near("qqqq", ["loc", "scale"]) == []
    assert near("tot", ["total_rows", "seed"]) == ["total_rows"]
