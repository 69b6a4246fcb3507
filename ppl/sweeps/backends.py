"""Where the runs of a sweep are worked on: in this process, in processes of this machine, or in a Dask cluster.

Each yields the rows of its tasks as they come. A worker that is killed takes only its own run with it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from importlib.util import find_spec
from types import FrameType
from typing import Any

from ppl.errors import OptionError, in_words
from ppl.sweeps.runs import Row, RunTask, execute_run, failed_row, store_killed_row

THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What limits the threads of a worker: those of this package, of Numba, and of NumPy's linear algebra."""

SHUTDOWN_SECONDS = 20.0
"""Seconds in which workers that are told to end may write their checkpoints."""

PARENT_CHECK_SECONDS = 1.0
"""Seconds after which a worker looks whether the process of the sweep is still there."""

IndexedRow = tuple[int, Row]


class Interrupted(BaseException):
    """Ctrl-C came while a run of this process was being worked on; `ppl.fit` would return at KeyboardInterrupt."""


def thread_limits(threads: int) -> dict[str, str]:
    """Return the environment of a worker that may use so many threads."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


def run_serially(tasks: Sequence[RunTask], workers: int, threads: int) -> Iterator[IndexedRow]:
    """Carry out one task after the other in this process, which keeps its own number of threads."""
    for i, task in enumerate(tasks):
        with _end_on_ctrl_c():
            row = execute_run(task)
        yield i, row


@contextlib.contextmanager
def _end_on_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the run and the sweep, and not the run alone."""

    def arrived(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, arrived)
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def run_in_processes(tasks: Sequence[RunTask], workers: int, threads: int) -> Iterator[IndexedRow]:
    """Carry out tasks in processes that joblib's `loky` starts, one executor a worker."""
    from joblib.externals.loky.process_executor import BrokenProcessPool  # optional

    waiting = iter(enumerate(tasks))
    running: dict[Future[Row], tuple[int, RunTask, WorkerProcess]] = {}

    def start_next(worker: WorkerProcess | None) -> None:
        if (item := next(waiting, None)) is None:
            if worker is not None:
                worker.close(False)
            return
        worker = WorkerProcess(threads) if worker is None else worker
        try:
            future = worker.submit(item[1])
        except BrokenProcessPool:  # killed while it had nothing to do
            worker = WorkerProcess(threads)
            future = worker.submit(item[1])
        running[future] = *item, worker

    try:
        for _ in range(min(workers, len(tasks))):
            start_next(None)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                i, task, worker = running.pop(future)
                free: WorkerProcess | None = worker
                try:
                    row = future.result()
                except BrokenProcessPool as error:
                    row = store_killed_row(task, f"its worker process ended: {_exit_codes(error)}")
                    worker.close(True)
                    free = None
                except Exception as error:  # what cannot be sent to a worker, or back
                    row = failed_row(task.run, in_words(error))
                start_next(free)
                yield i, row
    finally:
        for _, _, worker in running.values():
            worker.terminate()
        wait(running, SHUTDOWN_SECONDS)
        for _, _, worker in running.values():
            worker.close(True)


class WorkerProcess:
    """A process that works on one run at a time, in an executor of its own."""

    def __init__(self, threads: int):
        from joblib.externals.loky import ProcessPoolExecutor  # optional

        self._executor = ProcessPoolExecutor(
            1, env=thread_limits(threads), initializer=_prepare_worker, initargs=(os.getpid(),)
        )
        self._process = self._executor.submit(os.getpid)

    def submit(self, task: RunTask) -> Future[Row]:
        """Begin a run."""
        return self._executor.submit(execute_run, task)

    def terminate(self) -> None:
        """Have a process that is at a run write its checkpoint and end."""
        if self._process.done() and not self._process.exception():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.result(), signal.SIGTERM)

    def close(self, kill: bool) -> None:
        """Have the process end when it has nothing to do, or `kill` it."""
        self._executor.shutdown(wait=not kill, kill_workers=kill)


def _prepare_worker(parent: int) -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the process of the sweep; end when that has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    """Wait until the process `parent`, which has started this one, is gone; then end, with a checkpoint."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SHUTDOWN_SECONDS)
    os._exit(1)


def _exit_codes(error: BaseException) -> str:
    """Return the exit codes in the message of loky."""
    text = str(error)
    return text.partition("{")[2].partition("}")[0] or in_words(error)


def run_in_cluster(client: Any, tasks: Sequence[RunTask], workers: int, threads: int) -> Iterator[IndexedRow]:
    """Carry out tasks in a Dask cluster: that of `client`, or one of processes on this machine."""
    from distributed import Client, LocalCluster, as_completed  # optional

    with contextlib.ExitStack() as stack:
        if client is None:
            from dask import config  # optional

            stack.enter_context(config.set({"distributed.scheduler.allowed-failures": 0}))
            cluster = stack.enter_context(
                LocalCluster(n_workers=min(workers, len(tasks)), threads_per_worker=1, env=thread_limits(threads),
                             dashboard_address=None, silence_logs=50)
            )  # fmt: skip
            client = stack.enter_context(Client(cluster))
        yield from _submit_in_turn(client, tasks, as_completed)


def _submit_in_turn(client: Any, tasks: Sequence[RunTask], as_completed: Any) -> Iterator[IndexedRow]:
    """Submit one task a thread of the cluster at a time, so that a lost worker takes no others with it."""
    waiting, futures = iter(enumerate(tasks)), {}

    def send() -> list[Any]:
        item = next(waiting, None)
        if item is None:
            return []
        future = client.submit(execute_run, item[1], pure=False)
        futures[future] = item
        return [future]

    running = as_completed([f for _ in range(max(1, sum(client.nthreads().values()))) for f in send()])
    try:
        for future in running:
            i, task = futures.pop(future)
            row = _row_of_future(future, task)
            running.update(send())
            yield i, row
    finally:
        client.cancel(list(futures))


def _row_of_future(future: Any, task: RunTask) -> Row:
    error = future.exception()
    if error is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":
        return store_killed_row(task, f"its worker process ended: {in_words(error)}")
    return failed_row(task.run, in_words(error))


def choose_backend(backend: Any) -> Callable[[Sequence[RunTask], int, int], Iterator[IndexedRow]]:
    """Return the backend of a name, or of a client of Dask.

    Raises
    ------
    OptionError
        There is none of this name, or what it needs is not installed.
    """
    if backend == "serial":
        return run_serially
    if backend == "joblib":
        _require_package("joblib", "joblib")
        return run_in_processes
    if backend == "dask" or hasattr(backend, "submit"):
        _require_package("distributed", "dask")
        client = None if backend == "dask" else backend
        return lambda tasks, workers, threads: run_in_cluster(client, tasks, workers, threads)
    raise OptionError(f'sweep: backend must be "joblib", "dask", "serial" or a client of Dask, not {backend!r}')


def _require_package(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise OptionError(f'sweep: backend="{extra}" needs {module}: pip install "numba-ppl[{extra}]"')
