"""The step of an optimizer in place on several processes that share memory."""

from ppl.kernels.config import jit
from ppl.kernels.cpu.parallel.atomics import load, own_word
from ppl.kernels.cpu.parallel.meeting import NUMBER, SIZE, all_say, meet
from ppl.kernels.cpu.training.parallel_optimizers import bounded_part, step_part


@jit
def update_jointly(params, first, second, grad, rule, rate, numbers, count, factor, limit, shares, copies, party):
    """`parallel_optimizers.update` on the processes of a party, whose vectors all lie in shared memory."""
    own, size, large = party[NUMBER], party[SIZE], own_word()
    bounded_part(own, size, own, large, grad, limit, shares)
    if not all_say(party, load(large) == 0):
        return False
    step_part(own, size, own, params, first, second, grad, rule, rate, numbers, count, factor, shares, copies)
    meet(party)
    return True
