"""What the host does with a device: find it, move memory, launch kernels, and add up the vectors of several ranks."""

import warnings

import numpy as np
from numba.core.errors import NumbaPerformanceWarning

from ppl.kernels.cuda.compat import SIMULATED, THREADS, block, cuda, kernel, thread

NO_CHECKS = "the checked build (PPL_CHECK=1) has no code for devices; NUMBA_ENABLE_CUDASIM=1 checks in the simulator"


def simulated():
    """Whether there is no device but Numba's simulator of one."""
    return SIMULATED


def available():
    """Whether there is a GPU, or Numba's simulator of one."""
    return bool(cuda.is_available())


def count():
    """The number of devices."""
    return len(cuda.gpus) if available() else 0


def names():
    """What the devices are called."""
    return [getattr(gpu, "name", b"simulator").decode() for gpu in cuda.gpus]


def on(device):
    """A context in which memory and launches are those of a device, by its number."""
    return cuda.gpus[device]


def grid(n):
    """Blocks, threads and shared memory of a launch of at least `n` threads."""
    return blocks_for(n), THREADS, 0


def blocks_for(n):
    """Blocks of at least `n` threads together."""
    return max(1, -(-n // THREADS))


def start(kernel, shape, *arguments):
    """Launch a kernel; `shape` says how many blocks and threads of a block, and how many bytes a block shares."""
    configured(kernel, shape, 0)(*arguments)


def configured(kernel, shape, stream):
    """A kernel that is launched in this shape; few blocks are no reason for one of Numba's warnings."""
    blocks, threads, shared = shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)
        return kernel[blocks, threads, stream, shared]


def moved(x):
    """A copy of a vector on the device."""
    return cuda.to_device(x) if x.size else empty(0, x.dtype)


def empty(size, dtype):
    """A vector on the device, not initialised."""
    return cuda.device_array(max(size, 1), np.dtype(dtype))[:size]


def fetched(x, out=None):
    """A copy on the host of a vector on the device, in `out` if it is given."""
    if not x.size:
        return np.empty(0, x.dtype) if out is None else out
    return x.copy_to_host(out)


def write(x, values):
    """Write to a vector on the device what lies in one of the same size on the host."""
    if x.size:
        x.copy_to_device(values)


@kernel
def _weighted_sum(out, parts, weights, size):
    i = block() * cuda.blockDim.x + thread()
    if i < size:
        total = weights[0] - weights[0]
        for r in range(weights.shape[0]):
            if weights[r] != 0:
                total += weights[r] * parts[r * size + i]
        out[i] = total


def weighted_sum_into(out, parts, weights):
    """out = Σ_r weights[r] parts[r], from rank 0 on; ranks of weight 0 are left out, whatever they hold.

    Parameters
    ----------
    out : vector on the device.
    parts : the vectors of all ranks, one behind the other.
    weights : vector of the same type, one a rank.
    """
    configured(_weighted_sum, grid(out.size), 0)(out, parts, weights, out.size)


def finish():
    """Wait until the device has done what it was given, so that others may read its memory."""
    cuda.synchronize()
