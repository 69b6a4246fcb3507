"""Say what is missing for programs on a CUDA device, without importing CUDA."""

import importlib.util

NO_PACKAGE = (
    'target "cuda" needs numba-cuda, which is not installed: pip install "numba-ppl[cuda]"; target "cpu" runs '
    "everywhere"
)

NO_GPU = (
    'target "cuda" needs an NVIDIA GPU and its driver, and Numba finds none here; target "cpu" runs everywhere, and '
    "NUMBA_ENABLE_CUDASIM=1 simulates a GPU"
)


def missing():
    """What is missing for programs on a device, or an empty text."""
    if importlib.util.find_spec("numba_cuda") is None:
        return NO_PACKAGE
    from ppl.kernels.cuda.launch import available  # imports numba-cuda, which is there

    return "" if available() else NO_GPU
