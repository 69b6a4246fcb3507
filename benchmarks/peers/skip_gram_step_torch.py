"""`benchmarks/workloads/skip_gram_step.py` in PyTorch, on gathered rows and sparse updates only.

"by hand" writes the gradient out and adds it with `index_add_`; "sparse" is `nn.Embedding(sparse=True)` with SGD. Noise
words come from the alias table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks import skip_gram_data as data
from benchmarks.forms import Form

STEPS = data.STEPS
VARIANTS = ("by hand", "sparse")


def draw(accept: Tensor, other: Tensor) -> Tensor:
    """Noise words (PAIRS, NOISE) from the alias table."""
    column = torch.randint(0, data.VOCABULARY, (data.PAIRS, data.NOISE))
    return torch.where(torch.rand(column.shape) < accept[column], column, other[column])


def by_hand(u: Tensor, v: Tensor, center: Tensor, word: Tensor, noise: Tensor, sign: Tensor) -> Tensor:
    """One step of SGD in place; the mean loss of the batch."""
    words = torch.cat([word[:, None], noise], 1)
    rows, vectors = u[words], v[center]
    s = sign * torch.bmm(rows, vectors[:, :, None])[:, :, 0]
    g = data.RATE * sign * torch.sigmoid(s)
    v.index_add_(0, center, torch.bmm(g[:, None], rows)[:, 0], alpha=-1)
    u.index_add_(0, words.reshape(-1), (g[:, :, None] * vectors[:, None]).reshape(-1, data.DIM), alpha=-1)
    return softplus(s).sum() / data.PAIRS


def build(variant: str = VARIANTS[0]) -> Callable[[], object]:
    """A function that takes `STEPS` steps and returns their losses."""
    torch.manual_seed(0)
    torch.set_num_threads(2)
    d = data.make()
    accept, other = torch.from_numpy(d.accept), torch.from_numpy(d.other).long()
    center, word = torch.from_numpy(d.center).long(), torch.from_numpy(d.word).long()
    u, v = torch.zeros(data.VOCABULARY, data.DIM), torch.from_numpy(d.v.copy())
    sign = torch.tensor([-1.0] + [1.0] * data.NOISE)
    if variant == "sparse":
        return _sparse(u, v, center, word, accept, other, sign)

    def call() -> object:
        with torch.no_grad():
            return [float(by_hand(u, v, center[i], word[i], draw(accept, other), sign)) for i in range(STEPS)]

    return call


def _sparse(
    u: Tensor, v: Tensor, center: Tensor, word: Tensor, accept: Tensor, other: Tensor, sign: Tensor
) -> Callable[[], object]:
    inner, outer = (nn.Embedding.from_pretrained(t, freeze=False, sparse=True) for t in (v, u))
    optimizer = torch.optim.SGD([inner.weight, outer.weight], lr=data.RATE)

    def call() -> object:
        losses = []
        for i in range(STEPS):
            words = torch.cat([word[i][:, None], draw(accept, other)], 1)
            s = torch.bmm(outer(words), inner(center[i])[:, :, None])[:, :, 0]
            loss = softplus(sign * s).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item() / data.PAIRS)
        return losses

    return call


def forms() -> dict[str, Form]:
    """All variants."""
    return {f"PyTorch, {v}": Form(build(v), STEPS) for v in VARIANTS}
