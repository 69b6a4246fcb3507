"""Where named axes lie in the oracle's arrays.

An array has one dimension for every named axis of its layout, of length 1 where it does not vary, and then the event.
Dimension 0 holds the parameter values at which everything is evaluated at once, then come plates, then the
variables that are summed or integrated.
"""

from __future__ import annotations

import numpy as np

THETA = 0


class Layout:
    """Positions of plates, and of variables as they are added."""

    def __init__(self, plates: tuple[str, ...], variables: int):
        self.plates = {name: 1 + i for i, name in enumerate(plates)}
        self.first = 1 + len(plates)
        self.rank = self.first + variables
        self.used = 0

    def add(self) -> int:
        """The position of the next variable."""
        self.used += 1
        if self.first + self.used > self.rank:
            raise AssertionError("more variables than were counted")
        return self.first + self.used - 1

    def lead(self, event: np.ndarray) -> np.ndarray:
        """An array of an event alone, with all named dimensions of length 1."""
        event = np.asarray(event)
        return event.reshape((1,) * self.rank + event.shape)

    def along(self, position: int, values: np.ndarray) -> np.ndarray:
        """`values`, whose first dimension is the named one at `position`."""
        values = np.asarray(values)
        shape = [1] * self.rank
        shape[position] = values.shape[0]
        return values.reshape(*shape, *values.shape[1:])

    def to_event(self, x: np.ndarray, position: int, size: int) -> np.ndarray:
        """The named dimension at `position` as the first of the event."""
        shape = list(x.shape)
        shape[position] = size
        moved = np.moveaxis(np.expand_dims(np.broadcast_to(x, shape), position), position + 1, self.rank)
        return moved

    def from_event(self, x: np.ndarray, position: int) -> np.ndarray:
        """The first dimension of the event as the named one at `position`, along which `x` does not vary."""
        return np.squeeze(np.moveaxis(x, self.rank, position), axis=position + 1)


def spread(*arrays: np.ndarray, rank: int) -> list[np.ndarray]:
    """`arrays` with common named dimensions; their events stay as they are."""
    lead = np.broadcast_shapes(*(a.shape[:rank] for a in arrays))
    return [np.broadcast_to(a, lead + a.shape[rank:]) for a in arrays]
