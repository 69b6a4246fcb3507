"""Numba's CUDA simulator, made quicker.

What a kernel asks of `cuda` goes to the block that runs, without looking through the globals of every function that it
calls; and the threads of a block wait for one another instead of being asked again and again. Kernels that several host
threads launch run in turns. Compiled functions that a kernel calls return Numba's dtypes: Python's own numbers, which
they return to Python, would go on in double precision."""

import copy
import functools
import threading

import numba.cuda
from numba.cuda.simulator import kernel as simulator
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray, FakeWithinKernelCUDAArray
from numba.np.numpy_support import as_dtype


class _KernelContext:
    """`numba.cuda`, and inside kernels what it is for the calling thread."""

    def __getattr__(self, name):
        inside = isinstance(threading.current_thread(), simulator.BlockThread) and name != "jit"
        return getattr(simulator._get_kernel_context() if inside else numba.cuda, name)


cuda = _KernelContext()


class _Thread(simulator.BlockThread):
    """A thread that waits at the barrier of its block."""

    def syncthreads(self):
        self._manager.barrier.wait()


def _run(manager, place, *arguments):
    """Run one block to its end."""
    count = int(manager.block_state.size)
    manager.barrier = threading.Barrier(count, getattr(manager, "action", None))
    manager.barrier_done = threading.Barrier(count)

    def body():
        try:
            manager._f(*arguments)
        except threading.BrokenBarrierError:
            pass
        except Exception:
            manager.barrier.abort()
            manager.barrier_done.abort()
            raise

    where = [(x, y, z) for x, y, z in _positions(manager._block_dim)]
    threads = [_Thread(body, manager, place, point, manager._debug) for point in where]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.exception:
            raise thread.exception[0].with_traceback(thread.exception[1])


def _positions(shape):
    x, y, z = (*shape, 1, 1)[:3]
    return [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]


simulator.BlockManager.run = _run


_one_kernel = threading.Lock()

_call = simulator.FakeCUDAKernel.__call__


def _launch(kernel, *arguments):
    """Run a kernel when those of other host threads are done: the simulator has room for one."""
    if kernel._device or isinstance(threading.current_thread(), simulator.BlockThread):
        return _call(kernel, *arguments)
    with _one_kernel:
        return _call(kernel, *arguments)


def _configured(kernel, configuration):
    """A kernel of its own in this shape, as on a device: threads launch one kernel in different shapes."""
    return _configure(copy.copy(kernel), configuration)


_configure = simulator.FakeCUDAKernel.__getitem__

simulator.FakeCUDAKernel.__call__, simulator.FakeCUDAKernel.__getitem__ = _launch, _configured


class NumbaTyped:
    """The functions of a module, whose results have the dtypes that compiled callers get."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        found = _numba_typed(getattr(self._module, name))
        setattr(self, name, found)
        return found


def _numba_typed(fn):
    known = {}

    @functools.wraps(fn)
    def call(*arguments):
        result, key = fn(*arguments), tuple(map(type, arguments))
        if key not in known:
            given = tuple(map(fn.typeof_pyval, arguments))
            known[key] = as_dtype(fn.overloads[given].signature.return_type).type
        return known[key](result)

    return call


def as_numpy(arguments):
    """Arguments of a user's function as NumPy knows them."""
    found = [x._item if isinstance(x, FakeWithinKernelCUDAArray) else x for x in arguments]
    return tuple(x._ary if isinstance(x, FakeCUDAArray) else x for x in found)
