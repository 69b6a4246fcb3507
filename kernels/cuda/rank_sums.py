"""Weighted sums, on a device, of the vectors of several processes in the order of their ranks."""

from ppl.kernels.cuda.compat import block, cuda, kernel, thread
from ppl.kernels.cuda.launch import configured, grid


@kernel
def _weighted(out, parts, weights, size):
    i = block() * cuda.blockDim.x + thread()
    if i < size:
        total = weights[0] - weights[0]
        for r in range(weights.shape[0]):
            if weights[r] != 0:
                total += weights[r] * parts[r * size + i]
        out[i] = total


def weighted_into(out, parts, weights):
    """out = Σ_r weights[r] parts[r], from rank 0 on; ranks of weight 0 are left out, whatever they hold.

    Parameters
    ----------
    out : vector on the device.
    parts : the vectors of all ranks, one behind the other.
    weights : vector of the same type, one a rank.
    """
    configured(_weighted, grid(out.size), 0)(out, parts, weights, out.size)


def finish():
    """Wait until the device has done what it was given, so that others may read its memory."""
    cuda.synchronize()
