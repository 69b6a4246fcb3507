"""Poisson and binomial counts for a run of lanes, in blocks whose loops vectorise.

Small means go up from 0 all lanes together, until the last has reached its count. Large means make an attempt of all
lanes together, then of those rejected. What a lane gets is what the scalar sampler gives it. In float64, lanes come
one after another.
"""

from ppl.kernels.config import jit
from ppl.kernels.cpu.draws.lanes import both_forms, lane_column, lane_key, rejected, still_rejected
from ppl.kernels.cpu.memory.stack import stacked
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.scalar.noise import attempt_words, fine_uniform_f32
from ppl.kernels.source.precision import SINGLE, i64, real
from ppl.kernels.source.scalar import binomial, poisson
from ppl.kernels.source.scalar.basic import ONE, ZERO, maximum, minimum
from ppl.kernels.source.scalar.exponential import exp, expm1, log1p
from ppl.kernels.symbols import shared
from ppl.tuning import DRAW_LANES

_VECTOR = real.__name__ + "[::1]"

if SINGLE:

    @jit
    def _few(out, rate, key, column, stream, start, count):
        """Poisson counts of rates below 10."""
        mass, total, left = stacked(DRAW_LANES, real), stacked(DRAW_LANES, real), stacked(DRAW_LANES, real)
        prefer_full_width()
        for i in range(count):
            w0, w1, _, _ = attempt_words(lane_key(key, start + i), lane_column(column, start + i), stream, 0)
            t, more = fine_uniform_f32(w0, w1), -expm1(-rate[i])
            some = t < more
            left[i] = ONE - t / more if some else ZERO
            mass[i] = rate[i] * exp(-rate[i]) / more if some else ONE
            total[i] = mass[i]
            out[i] = i64(1) if some else i64(0)
        for k in range(2, 201):
            inverse, going = ONE / real(k), i64(0)
            for i in range(count):
                more = left[i] > total[i]
                out[i] += i64(1) if more else i64(0)
                going += i64(1) if more else i64(0)
                mass[i] *= rate[i] * inverse
                total[i] += mass[i] if more else ZERO
            if going == 0:
                break

    @jit
    def _many(out, rate, key, column, stream, start, count):
        """Poisson counts of rates from 10 on."""
        waiting, shift = stacked(DRAW_LANES, i64), stacked(DRAW_LANES, real)
        prefer_full_width()
        for i in range(count):
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            shift[i] = poisson.poisson_shift(rate[i], k, at, stream, 0)
        for i in range(count):
            out[i] = poisson.poisson_sum(rate[i], shift[i])
        left = rejected(waiting, shift, count)
        for attempt in range(1, poisson.ATTEMPTS):
            if left == 0:
                break
            for j in range(left):
                i = waiting[j]
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                shift[j] = poisson.poisson_shift(rate[i], k, at, stream, attempt)
            for j in range(left):
                out[waiting[j]] = poisson.poisson_sum(rate[waiting[j]], shift[j])
            left = still_rejected(waiting, shift, left)


@shared(*both_forms("int64[::1]", _VECTOR))
def poisson_row_real(out, rate, key, column, stream, n):
    """Write `n` Poisson counts to the int64 vector `out`; arguments as for `loggamma_row_real`."""
    if SINGLE:
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, rates = out[start : start + count], rate[start : start + count]
            small = i64(0)
            for i in range(count):
                small += i64(1) if rates[i] < poisson.FEW else i64(0)
            if small == count:
                _few(lanes, rates, key, column, stream, start, count)
            elif small == 0:
                _many(lanes, rates, key, column, stream, start, count)
            else:
                for i in range(count):
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    lanes[i] = poisson.poisson_draw(rates[i], k, at, stream)
    else:
        for i in range(n):
            out[i] = poisson.poisson_draw(rate[i], lane_key(key, i), lane_column(column, i), stream)


if SINGLE:

    @jit
    def _few_trials(out, total, p, q, key, column, stream, start, count):
        """Binomial counts of means below 10; p is at most q."""
        mass, sums, left = stacked(DRAW_LANES, real), stacked(DRAW_LANES, real), stacked(DRAW_LANES, real)
        prefer_full_width()
        for i in range(count):
            w0, w1, _, _ = attempt_words(lane_key(key, start + i), lane_column(column, start + i), stream, 0)
            t, none = fine_uniform_f32(w0, w1), total[i] * log1p(-p[i])
            more = -expm1(none)
            some = t < more
            left[i] = ONE - t / more if some else ZERO
            mass[i] = total[i] * (p[i] / q[i]) * exp(none) / more if some else ONE
            sums[i] = mass[i]
            out[i] = i64(1) if some else i64(0)
        for k in range(1, 200):
            inverse, going = ONE / real(k + 1), i64(0)
            for i in range(count):
                more = left[i] > sums[i] and real(k) < total[i]
                out[i] += i64(1) if more else i64(0)
                going += i64(1) if more else i64(0)
                mass[i] *= p[i] / q[i] * (total[i] - real(k)) * inverse
                sums[i] += mass[i] if more else ZERO
            if going == 0:
                break

    @jit
    def _many_trials(out, total, p, q, key, column, stream, start, count):
        """Binomial counts of means from 10 on."""
        waiting, found, top = stacked(DRAW_LANES, i64), stacked(DRAW_LANES, real), stacked(DRAW_LANES, real)
        prefer_full_width()
        for i in range(count):
            top[i] = binomial.binomial_top(total[i], p[i], q[i])
        for i in range(count):
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            found[i] = binomial.binomial_attempt(total[i], p[i], q[i], top[i], k, at, stream, 0)
        for i in range(count):
            out[i] = i64(found[i])
        left = rejected(waiting, found, count)
        for attempt in range(1, binomial.ATTEMPTS):
            if left == 0:
                break
            for j in range(left):
                i = waiting[j]
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                found[j] = binomial.binomial_attempt(total[i], p[i], q[i], top[i], k, at, stream, attempt)
            for j in range(left):
                out[waiting[j]] = i64(found[j])
            left = still_rejected(waiting, found, left)


@shared(*both_forms("int64[::1]", _VECTOR, _VECTOR, _VECTOR))
def binomial_row_real(out, total, one, zero, key, column, stream, n):
    """Write `n` binomial counts to the int64 vector `out`; arguments as for `loggamma_row_real`."""
    if SINGLE:
        p, q = stacked(DRAW_LANES, real), stacked(DRAW_LANES, real)
        prefer_full_width()
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, trials = out[start : start + count], total[start : start + count]
            ones, zeros = one[start : start + count], zero[start : start + count]
            small = i64(0)
            for i in range(count):
                p[i], q[i] = minimum(ones[i], zeros[i]), maximum(ones[i], zeros[i])
                small += i64(1) if trials[i] * p[i] < binomial.FEW else i64(0)
            if small == count:
                _few_trials(lanes, trials, p, q, key, column, stream, start, count)
            elif small == 0:
                _many_trials(lanes, trials, p, q, key, column, stream, start, count)
            else:
                for i in range(count):
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    lanes[i] = binomial.binomial_draw(trials[i], ones[i], zeros[i], k, at, stream)
                continue
            for i in range(count):
                lanes[i] = i64(trials[i]) - lanes[i] if ones[i] > zeros[i] else lanes[i]
    else:
        for i in range(n):
            at, k = lane_column(column, i), lane_key(key, i)
            out[i] = binomial.binomial_draw(total[i], one[i], zero[i], k, at, stream)
