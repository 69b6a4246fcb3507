"""Ranks on one machine that run the slabs of regions together in shared memory: barrier, agreement, optimizer step.

All run the same program on memory that they share, each at addresses of its own. A region is cut into as many runs
of slabs as there are ranks; behind it stands a barrier, so that each sees what the others have written. What one
rank does for all stands between two barriers as well.

A *communicator* is what a rank knows of the others: its number, how many they are, the address of a line for each in
shared memory, how many barriers it has passed, and how often it looks before it sleeps. A line has the number of the
last barrier at which its rank has arrived, its vote, and the word on which it sleeps: a futex, so this is for Linux
only."""

import os

import numba

from ppl.kernels.cpu.threads.atomics import load, own_word, pause, store, swap
from ppl.kernels.cpu.threads.pool import call_region, futex_call, pauses_in, syscall
from ppl.kernels.cpu.threads.regions import address
from ppl.kernels.cpu.threads.thread_count import CGROUP_FILE, CGROUP_MOUNTS, cgroup_quotas
from ppl.kernels.cpu.training.parallel_optimizers import bounded_part, step_part
from ppl.kernels.decorators import jit
from ppl.tuning import CALLER_MICROSECONDS

LINE = 128
"""Bytes of a line: two lines of the caches, since processors fetch pairs."""

RANK, SIZE, LINES, BARRIERS, SPINS = range(5)
"""The numbers of a communicator."""

ARRIVED, VOTE, ASLEEP = 0, 8, 16
"""The words of a line, in bytes from its beginning."""

WAIT, WAKE = 0, 1
"""The operations of a futex that several processes know."""


def possible():
    """Whether processes can meet here."""
    return futex_call != 0 and not numba.config.DISABLE_JIT


def spins(processes):
    """How often a process looks before it sleeps; where they are more than cores, another one needs the core."""
    machine = min([os.cpu_count() or 1, *cgroup_quotas(CGROUP_FILE, CGROUP_MOUNTS)])
    return pauses_in(CALLER_MICROSECONDS) if processes <= machine else 0


@jit
def _sleep_while_before(communicator, other, number):
    """Sleep while process `other` has not arrived at meeting `number`: until woken, or for no reason."""
    own = communicator[LINES] + communicator[RANK] * LINE
    store(own + ASLEEP, 1)
    if load(communicator[LINES] + other * LINE + ARRIVED) < number:
        syscall(futex_call, own + ASLEEP, WAIT, 1, 0, 0, 0)
    swap(own + ASLEEP, 0)


@jit
def barrier(communicator):
    """Wait until all processes are here, and see what they have written."""
    lines, number = communicator[LINES], communicator[BARRIERS] + 1
    communicator[BARRIERS] = number
    store(lines + communicator[RANK] * LINE + ARRIVED, number)
    for other in range(communicator[SIZE]):
        asleep = lines + other * LINE + ASLEEP
        if load(asleep) != 0 and swap(asleep, 0) != 0:
            syscall(futex_call, asleep, WAKE, 1, 0, 0, 0)
    spins = communicator[SPINS]
    for other in range(communicator[SIZE]):
        while load(lines + other * LINE + ARRIVED) < number:
            if spins > 0:
                spins -= 1
                pause()
            else:
                _sleep_while_before(communicator, other, number)


@jit
def all_agree(communicator, good):
    """Meet; whether all processes say that it is `good`."""
    store(communicator[LINES] + communicator[RANK] * LINE + VOTE, 1 if good else 0)
    barrier(communicator)
    for other in range(communicator[SIZE]):
        if load(communicator[LINES] + other * LINE + VOTE) == 0:
            return False
    return True


@jit
def run_own_slabs(communicator, entry_points, region, words, slabs):
    """Run this process's share of the slabs of a region that raises no exceptions, and meet."""
    number, size = communicator[RANK], communicator[SIZE]
    for slab in range(slabs * number // size, slabs * (number + 1) // size):
        call_region(entry_points[region], address(words), slab, slabs, number)
    barrier(communicator)


@jit
def update_shared_parameters(
    params, first, second, grad, rule, rate, numbers, count, factor, limit, shares, copies, communicator
):
    """`parallel_optimizers.update` on the processes of a communicator, whose vectors all lie in shared memory."""
    own, size, large = communicator[RANK], communicator[SIZE], own_word()
    bounded_part(own, size, own, large, grad, limit, shares)
    if not all_agree(communicator, load(large) == 0):
        return False
    step_part(own, size, own, params, first, second, grad, rule, rate, numbers, count, factor, shares, copies)
    barrier(communicator)
    return True
