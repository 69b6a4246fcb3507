"""Processes of one machine that take the slabs of regions together, as the threads of one process do (`pool`).

All run the same program on memory that they share, each at addresses of its own. A region is cut into as many runs of
slabs as there are processes; behind it all meet, so that each sees what the others have written. What one process does
for all stands between two meetings as well.

A *party* is what a process knows of the others: its number, how many they are, the address of a line for each in shared
memory, how often they have met, and how often it looks before it sleeps. A line has the meetings at which its process
has arrived, what it says there, and the word on which it sleeps: a futex, so this is for Linux only.
"""

import os

import numba

from ppl.kernels.config import jit
from ppl.kernels.cpu.parallel.atomics import load, pause, store, swap
from ppl.kernels.cpu.parallel.cores import GROUPS, MOUNTS, quotas
from ppl.kernels.cpu.parallel.enter import enter
from ppl.kernels.cpu.parallel.regions import address
from ppl.kernels.cpu.parallel.waiting import futex_call, syscall
from ppl.kernels.cpu.parallel.workers import pauses_in
from ppl.tuning import CALLER_MICROSECONDS

LINE = 128
"""Bytes of a line: two lines of the caches, since processors fetch pairs."""
NUMBER, SIZE, LINES, MEETINGS, SPINS = range(5)
"""The numbers of a party."""
ARRIVED, SAID, ASLEEP = 0, 8, 16
"""The words of a line, in bytes from its beginning."""
WAIT, WAKE = 0, 1
"""The operations of a futex that several processes know."""


def possible():
    """Whether processes can meet here."""
    return futex_call != 0 and not numba.config.DISABLE_JIT


def spins(processes):
    """How often a process looks before it sleeps; where they are more than cores, another one needs the core."""
    machine = min([os.cpu_count() or 1, *quotas(GROUPS, MOUNTS)])
    return pauses_in(CALLER_MICROSECONDS) if processes <= machine else 0


@jit
def _sleep_while_before(party, other, number):
    """Sleep while process `other` has not arrived at meeting `number`: until woken, or for no reason."""
    own = party[LINES] + party[NUMBER] * LINE
    store(own + ASLEEP, 1)
    if load(party[LINES] + other * LINE + ARRIVED) < number:
        syscall(futex_call, own + ASLEEP, WAIT, 1, 0, 0, 0)
    swap(own + ASLEEP, 0)


@jit
def meet(party):
    """Wait until all processes are here, and see what they have written."""
    lines, number = party[LINES], party[MEETINGS] + 1
    party[MEETINGS] = number
    store(lines + party[NUMBER] * LINE + ARRIVED, number)
    for other in range(party[SIZE]):
        asleep = lines + other * LINE + ASLEEP
        if load(asleep) != 0 and swap(asleep, 0) != 0:
            syscall(futex_call, asleep, WAKE, 1, 0, 0, 0)
    spins = party[SPINS]
    for other in range(party[SIZE]):
        while load(lines + other * LINE + ARRIVED) < number:
            if spins > 0:
                spins -= 1
                pause()
            else:
                _sleep_while_before(party, other, number)


@jit
def all_say(party, good):
    """Meet; whether all processes say that it is `good`."""
    store(party[LINES] + party[NUMBER] * LINE + SAID, 1 if good else 0)
    meet(party)
    for other in range(party[SIZE]):
        if load(party[LINES] + other * LINE + SAID) == 0:
            return False
    return True


@jit
def run_share(party, entry_points, region, words, slabs):
    """Run this process's share of the slabs of a region that raises no exceptions, and meet."""
    number, size = party[NUMBER], party[SIZE]
    for slab in range(slabs * number // size, slabs * (number + 1) // size):
        enter(entry_points[region], address(words), slab, slabs, number)
    meet(party)
