"""Threads that take slabs of a region together: the compiled part (`workers` starts the threads).

A thread of the pool has a *lane* for good; the caller of a region has lane 0. Each lane has a word: the number of the
region, and the slabs of this lane's share that nobody has begun. Its owner takes them from the front, so that it works
on the same rows in every region; who has nothing left takes those of others from the back. So a region is finished by
the threads that run: the caller waits for slabs that somebody has begun, and for nothing else.

A word changes by compare-and-swap. As it names the region, whoever has taken a slab knows that this region is not over
until the slab is, and may read what the region is. A lane takes part in a region only if its own word names it: the
scratch memory of a call has so many lanes as the call asked for threads.

A caller that finds the pool taken runs all slabs itself. A worker that has found nothing to do for some microseconds
sleeps in the kernel, and so does a caller whose last slabs are others'.
"""

import ctypes

import llvmlite.binding as llvm
import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.parallel import atomics
from ppl.kernels.cpu.parallel.atomics import add, load, pause, replace, store
from ppl.kernels.cpu.parallel.enter import enter, report
from ppl.kernels.cpu.parallel.waiting import sleep_while, wake
from ppl.kernels.symbols import shared
from ppl.tuning import MOST_SLABS

LINE = 128
"""Bytes between words of different writers: two lines of the caches, since processors fetch pairs."""

TAKEN, NUMBER = 0, 8
REGION, WORDS, SLABS, LANES, LEFT = LINE, LINE + 8, LINE + 16, LINE + 24, LINE + 32
WORKERS, WORKER_SPINS, CALLER_SPINS = 2 * LINE, 2 * LINE + 8, 2 * LINE + 16
FIRST_LANE = 3 * LINE
PLACE = 8
"""The state in bytes from its beginning: what callers write, the region, the settings, then a line for each lane: its
word, and its place to sleep."""

MOST_LANES, MOST_SHARED = MOST_SLABS, (1 << 15) - 1
"""Lanes of the pool, and slabs of a region that it shares."""

SHARES, NUMBERS = np.int64(0xFFFF), np.int64(0x7FFFFFFF)
_SIZE = FIRST_LANE + MOST_LANES * LINE
_memory = (ctypes.c_char * (_SIZE + LINE))()
state = -(-ctypes.addressof(_memory) // LINE) * LINE
"""The address of the state."""
llvm.add_symbol("ppl_pool", state)
_base = atomics.named_words("ppl_pool", _SIZE // 8)


def lane_at(lane):
    """The address of a lane's word."""
    return state + FIRST_LANE + lane * LINE


@jit
def _work(base, lane, number, lanes):
    """Take slabs of the region `number` until none is left: the own ones, then those of the next lanes; how many."""
    done = np.int64(0)
    for i in range(lanes):
        owner = lane + i if lane + i < lanes else lane + i - lanes
        at = base + FIRST_LANE + owner * LINE
        while True:
            word = load(at)
            low, high = (word >> 16) & SHARES, word & SHARES
            if word >> 32 != number or low >= high:
                break
            if replace(at, word, word + 0x10000 if i == 0 else word - 1):
                words = load(base + WORDS)
                raised = enter(load(base + REGION), words, low if i == 0 else high - 1, load(base + SLABS), lane)
                if raised != 0:
                    report(words, raised)
                done += 1
    return done


@shared("int64(int64, int64, int64, int64)")
def share(region, words, slabs, threads):
    """Run all slabs of a region, on up to `threads` threads; callers do not contain it."""
    base = _base()
    lanes = min(threads, slabs, load(base + WORKERS) + 1)
    if lanes <= 1 or slabs > MOST_SHARED or not replace(base + TAKEN, 0, 1):
        for slab in range(slabs):
            raised = enter(region, words, slab, slabs, np.int64(0))
            if raised != 0:
                report(words, raised)
                break
        return 0
    number = (load(base + NUMBER) + 1) & NUMBERS
    store(base + NUMBER, number)
    store(base + REGION, region)
    store(base + WORDS, words)
    store(base + SLABS, slabs)
    store(base + LANES, lanes)
    store(base + LEFT, slabs)
    for i in range(lanes):
        lane = lanes - 1 - i
        at = base + FIRST_LANE + lane * LINE
        store(at, number << 32 | (slabs * lane // lanes) << 16 | slabs * (lane + 1) // lanes)
        if lane > 0:
            wake(at + PLACE)
    left = -_work(base, np.int64(0), number, lanes)
    left, spins = add(base + LEFT, left) + left, load(base + CALLER_SPINS)
    while left != 0:
        if spins > 0:
            spins -= 1
            pause()
        else:
            sleep_while(base + FIRST_LANE + PLACE, base + LEFT, 0, left)
        left = load(base + LEFT)
    store(base + TAKEN, 0)
    return 0


@jit
def serve(lane, count):
    """Pause `count` times, then work on `lane` until its word is negative; lane 0 belongs to the callers."""
    for _ in range(count):
        pause()
    if lane <= 0:
        return
    base = _base()
    own = base + FIRST_LANE + lane * LINE
    seen, spins = load(own) >> 32, np.int64(0)
    while True:
        number = load(own) >> 32
        if number < 0:
            return
        if number != seen:
            done = _work(base, lane, number, load(base + LANES))
            if done > 0 and add(base + LEFT, -done) == done:
                wake(base + FIRST_LANE + PLACE)
            seen, spins = number, load(base + WORKER_SPINS)
        elif spins > 0:
            spins -= 1
            pause()
        else:
            sleep_while(own + PLACE, own, 32, seen)
