"""Moving a program's arrays to the device and back around its launches."""

import numpy as np

from ppl.kernels.cuda.compat import THREADS, cuda

NO_GPU = (
    'target "cuda" needs an NVIDIA GPU and its driver, and Numba finds none here; target "cpu" runs everywhere, and '
    "NUMBA_ENABLE_CUDASIM=1 simulates a GPU"
)


def available():
    """Whether there is a GPU, or Numba's simulator of one."""
    return bool(cuda.is_available())


def grid(n):
    """Launch configuration for at least `n` threads."""
    return max(1, -(-n // THREADS)), THREADS


def on_device(launch, arguments, slabs, header):
    """Call ``launch(arguments on the device, slabs, header)`` and copy every array back that it may have written.

    The header is that of the whole-number workspace, on the host.
    """
    passed = [_moved(x) if isinstance(x, np.ndarray) else x for x in arguments]
    launch(*passed, slabs, header)
    for host, there in zip(arguments, passed, strict=True):
        if isinstance(host, np.ndarray) and host.size and host.flags.writeable:
            there.copy_to_host(host)


def _moved(x):
    return cuda.to_device(x) if x.size else cuda.device_array(1, x.dtype)[:0]
