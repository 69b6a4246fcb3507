"""The language: what a model is written with. Tracing a model gives a `Trace`, the compiler's input."""

from ppl.lang import init, layers
from ppl.lang.arguments import spec
from ppl.lang.carried import carried, carry
from ppl.lang.external import external
from ppl.lang.functions import log_sigmoid, log_softmax, logsumexp, one_hot, relu, sigmoid, softmax, softplus
from ppl.lang.layers import dense
from ppl.lang.model import Model, model
from ppl.lang.numpy_functions import solve_triangular
from ppl.lang.params import constant, hyper, param
from ppl.lang.plate import collect, plate, row_index, scope
from ppl.lang.sites import cost, deterministic, factor, sample, stop_gradient
from ppl.lang.trace import ArgumentSpec
from ppl.lang.tracing import trace_model
from ppl.lang.value import Value

__all__ = [
    "ArgumentSpec",
    "Model",
    "Value",
    "carried",
    "carry",
    "collect",
    "constant",
    "cost",
    "dense",
    "deterministic",
    "external",
    "factor",
    "hyper",
    "init",
    "layers",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "model",
    "one_hot",
    "param",
    "plate",
    "relu",
    "row_index",
    "sample",
    "scope",
    "sigmoid",
    "softmax",
    "softplus",
    "solve_triangular",
    "spec",
    "stop_gradient",
    "trace_model",
]
