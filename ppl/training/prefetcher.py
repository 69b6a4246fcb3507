"""Read items of an iterator ahead on a thread, in their order, with the exceptions that it raises."""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

CLOSE_SECONDS, HURRIED_CLOSE_SECONDS = 5.0, 0.3
"""Seconds that `close` waits for a reader that is in the middle of something: at the end; after Ctrl-C or an error."""

_END: Any = object()


class Prefetcher:
    """An iterator whose items a thread fetches, at most `count` before they are asked for.

    What the source raises is raised where its item would have come, with its own traceback. `close` ends the thread,
    after the item that it is at; where that takes too long, the thread is left behind, and ends when it can.
    """

    def __init__(self, source: Iterator[Any], count: int):
        self._source = source
        self._room = threading.Semaphore(count)
        self._items: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._got: collections.deque[tuple[Any, BaseException | None]] = collections.deque()
        self._ending, self._owed = threading.Event(), 0
        self._thread = threading.Thread(target=self._fetch, name="ppl batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Prefetcher:
        return self

    def __next__(self) -> Any:
        if self._ending.is_set():
            raise StopIteration
        item, error = self._got.popleft() if self._got else self._items.get()
        if error is not None or item is _END:
            self.close()
        if error is not None:
            raise error
        if item is _END:
            raise StopIteration
        if self._owed:
            self._owed -= 1
        else:
            self._room.release()
        return item

    def ready(self) -> list[Any]:
        """Return the items that are there already, up to the end or an exception; they stay to be asked for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._got.append(self._items.get_nowait())
        items = (item for item, error in self._got if error is None)
        return list(itertools.takewhile(lambda item: item is not _END, items))

    def put_back(self, items: list[Any]) -> None:
        """Let items that were taken last be the next ones again."""
        self._got.extendleft((item, None) for item in reversed(items))
        self._owed += len(items)

    def close(self, hurried: bool = False) -> None:
        """End the thread and close the source."""
        self._ending.set()
        self._room.release()
        if self._thread is not threading.current_thread():
            self._thread.join(HURRIED_CLOSE_SECONDS if hurried else CLOSE_SECONDS)

    def _fetch(self) -> None:
        try:
            while True:
                self._room.acquire()
                if self._ending.is_set():
                    return
                self._items.put((next(self._source, _END), None))
        except BaseException as error:
            self._items.put((None, error))
        finally:
            with contextlib.suppress(Exception):
                close_iterator(self._source)


def close_iterator(source: Any) -> None:
    """Close an iterator that can be closed, such as a generator: its `finally` runs now."""
    close = getattr(source, "close", None)
    if callable(close):
        close()
