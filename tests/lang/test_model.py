"""Models: static arguments, nesting, use outside a trace; tracing in threads."""

import threading

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import ModelError
from ppl.lang import trace_model
from ppl.lang.context import current_context
from tests.lang.helpers import trace

pytestmark = pytest.mark.tiny


@ppl.model
def layered(x, *, width, depth=1):
    """A model with static arguments."""
    for i in range(depth):
        x = ppl.dense(f"h{i}", x, width)
    ppl.sample("z", Normal(x, 1.0))


def test_static_arguments():
    assert layered.name == "layered" and layered.arguments == ("x",) and layered.__doc__.startswith("A model")
    bound = layered.bind(width=3)
    t = trace(bound, x=np.zeros(2))
    assert t.sites["z"].dist.event_shape == (3,) and layered.static == {}
    assert len(trace(bound.bind(depth=2), x=np.zeros(2)).params) == 4
    assert len(trace_model(layered, {"x": np.zeros(2)}, {"width": 1}).params) == 2
    with pytest.raises(ModelError, match=r"needs static argument 'width': use .bind\(width=...\)"):
        trace(layered, x=np.zeros(2))
    with pytest.raises(ModelError, match=r"no static argument 'x' \(it has: width, depth\)"):
        layered.bind(x=3)


def test_data_arguments():
    with pytest.raises(ModelError, match="needs data argument 'x'"):
        trace(layered.bind(width=2))
    seen = {}

    @ppl.model
    def optional(x, y=None):
        seen["y"] = y

    trace(optional, x=np.zeros(2), other=np.zeros(3))
    assert seen["y"] is None
    with pytest.raises(ModelError, match=r"\*args is not allowed"):
        ppl.model(lambda *args: None)


def test_nested_models():
    @ppl.model
    def prior(*, n):
        return ppl.sample("z", Normal(np.zeros(n), 1.0))

    @ppl.model
    def whole(x):
        with ppl.plate("data", x) as x:
            with ppl.scope("first"):
                z = prior(n=2)
            w = prior.bind(n=3)()
            ppl.sample("x", Normal(z.sum() + w.sum(), 1.0), obs=x)

    t = trace(whole, x=np.zeros(4))
    assert list(t.sites) == ["first/z", "z", "x"]
    assert all([a.name for a in s.axes] == ["data"] for s in t.sites.values())


def test_called_outside():
    with pytest.raises(ModelError, match=r"ppl.compile\(layered\)\n  at test_model.py"):
        layered(np.zeros(2))


def test_trace_ends_after_an_error():
    def bad():
        with ppl.plate("p", 3), ppl.scope("s"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        trace(bad)
    assert current_context() is None


def test_threads_trace_apart():
    traces = {}
    barrier = threading.Barrier(4)

    def work(i):
        def model():
            for j in range(20):
                barrier.wait()
                ppl.sample(f"z{i}/{j}", Normal())

        traces[i] = trace(model)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(list(traces[i].sites) == [f"z{i}/{j}" for j in range(20)] for i in range(4))
