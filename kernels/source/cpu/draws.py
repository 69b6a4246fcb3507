"""Von Mises, Poisson, binomial and gamma draws for a run of lanes, in blocks whose loops vectorise (`real`).

An attempt of all lanes of a block is made together, then one of those that were rejected."""

from ppl.kernels.cpu.memory import prefer_full_width, stack_array
from ppl.kernels.cpu.noise_keys import (
    draw_signatures,
    keep_rejected,
    lane_column,
    lane_key,
    list_lanes_of_kind,
    list_rejected,
)
from ppl.kernels.decorators import jit, shared
from ppl.kernels.source.precision import SINGLE, i32, i64, real
from ppl.kernels.source.scalar import binomial, poisson
from ppl.kernels.source.scalar import gamma_samplers as draws
from ppl.kernels.source.scalar import von_mises as angles
from ppl.kernels.source.scalar.basic import ONE, ZERO, maximum, minimum
from ppl.kernels.source.scalar.exponential import exp
from ppl.tuning import DRAW_LANES

_ANGLE_VECTORS = real.__name__ + "[::1]"


@shared(*draw_signatures(_ANGLE_VECTORS, _ANGLE_VECTORS))
def vonmises_row_real(out, concentration, key, column, stream, n):
    """Write `n` angles to `out`; arguments as for `loggamma_row_real`."""
    if SINGLE:
        prefer_full_width()
        waiting, found = stack_array(DRAW_LANES, i64), stack_array(DRAW_LANES, real)
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, kappa = out[start : start + count], concentration[start : start + count]
            for i in range(count):
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                lanes[i] = angles.vonmises_attempt(kappa[i], k, at, stream, 0)
            left = list_rejected(waiting, lanes, count)
            for attempt in range(1, angles.VONMISES_ATTEMPTS):
                if left == 0:
                    break
                for j in range(left):
                    i = waiting[j]
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    found[j] = angles.vonmises_attempt(kappa[i], k, at, stream, attempt)
                for j in range(left):
                    lanes[waiting[j]] = found[j]
                left = keep_rejected(waiting, found, left)
            for i in range(count):
                lanes[i] = angles.vonmises_angle(lanes[i])
    else:
        for i in range(n):
            out[i] = angles.vonmises_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)


_COUNT_VECTORS = real.__name__ + "[::1]"

if SINGLE:

    @jit
    def _poisson_many(out, rate, key, column, stream, start, count):
        """Poisson counts of rates from 10 on."""
        waiting, shift = stack_array(DRAW_LANES, i64), stack_array(DRAW_LANES, real)
        prefer_full_width()
        for i in range(count):
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            shift[i] = poisson.poisson_attempt(rate[i], k, at, stream, 0)
        for i in range(count):
            out[i] = poisson.count_at_shift(rate[i], shift[i])
        left = list_rejected(waiting, shift, count)
        for attempt in range(1, poisson.ATTEMPTS):
            if left == 0:
                break
            for j in range(left):
                i = waiting[j]
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                shift[j] = poisson.poisson_attempt(rate[i], k, at, stream, attempt)
            for j in range(left):
                out[waiting[j]] = poisson.count_at_shift(rate[waiting[j]], shift[j])
            left = keep_rejected(waiting, shift, left)


@shared(*draw_signatures("int64[::1]", _COUNT_VECTORS))
def poisson_row_real(out, rate, key, column, stream, n):
    """Write `n` Poisson counts to the int64 vector `out`; arguments as for `loggamma_row_real`."""
    if SINGLE:
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, rates = out[start : start + count], rate[start : start + count]
            small = i64(0)
            for i in range(count):
                small += i64(1) if rates[i] < poisson.FEW else i64(0)
            if small == 0:
                _poisson_many(lanes, rates, key, column, stream, start, count)
            else:
                for i in range(count):
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    lanes[i] = poisson.poisson_draw(rates[i], k, at, stream)
    else:
        for i in range(n):
            out[i] = poisson.poisson_draw(rate[i], lane_key(key, i), lane_column(column, i), stream)


if SINGLE:

    @jit
    def _binomial_many(out, total, p, q, key, column, stream, start, count):
        """Binomial counts of means from 10 on."""
        waiting, found, top = stack_array(DRAW_LANES, i64), stack_array(DRAW_LANES, real), stack_array(DRAW_LANES, real)
        prefer_full_width()
        for i in range(count):
            top[i] = binomial.binomial_log_mode(total[i], p[i], q[i])
        for i in range(count):
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            found[i] = binomial.binomial_attempt(total[i], p[i], q[i], top[i], k, at, stream, 0)
        for i in range(count):
            out[i] = i64(found[i])
        left = list_rejected(waiting, found, count)
        for attempt in range(1, binomial.ATTEMPTS):
            if left == 0:
                break
            for j in range(left):
                i = waiting[j]
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                found[j] = binomial.binomial_attempt(total[i], p[i], q[i], top[i], k, at, stream, attempt)
            for j in range(left):
                out[waiting[j]] = i64(found[j])
            left = keep_rejected(waiting, found, left)


@shared(*draw_signatures("int64[::1]", _COUNT_VECTORS, _COUNT_VECTORS, _COUNT_VECTORS))
def binomial_row_real(out, total, one, zero, key, column, stream, n):
    """Write `n` binomial counts to the int64 vector `out`; arguments as for `loggamma_row_real`."""
    if SINGLE:
        p, q = stack_array(DRAW_LANES, real), stack_array(DRAW_LANES, real)
        prefer_full_width()
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, trials = out[start : start + count], total[start : start + count]
            ones, zeros = one[start : start + count], zero[start : start + count]
            small = i64(0)
            for i in range(count):
                p[i], q[i] = minimum(ones[i], zeros[i]), maximum(ones[i], zeros[i])
                small += i64(1) if trials[i] * p[i] < binomial.FEW else i64(0)
            if small == 0:
                _binomial_many(lanes, trials, p, q, key, column, stream, start, count)
                for i in range(count):
                    lanes[i] = i64(trials[i]) - lanes[i] if ones[i] > zeros[i] else lanes[i]
            else:
                for i in range(count):
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    lanes[i] = binomial.binomial_draw(trials[i], ones[i], zeros[i], k, at, stream)
    else:
        for i in range(n):
            at, k = lane_column(column, i), lane_key(key, i)
            out[i] = binomial.binomial_draw(total[i], one[i], zero[i], k, at, stream)


_GAMMA_VECTORS = real.__name__ + "[::1]"

_SLOPES = "void({0},{0},{0},int64)"


@shared(*draw_signatures(_GAMMA_VECTORS, _GAMMA_VECTORS))
def loggamma_row_real(out, concentration, key, column, stream, n):
    """Write `n` logarithms of gamma draws to `out`.

    Parameters
    ----------
    out, concentration : `real` vectors, at least `n` long.
    key : uint64, or a vector
        Of the row and particle.
    column : int, or a vector
        Of the first lane, or of each.
    stream : int
        Which of the gamma draws of an entry.
    """
    if SINGLE:
        prefer_full_width()
        waiting, found = stack_array(DRAW_LANES, i64), stack_array(DRAW_LANES, real)
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, a = out[start : start + count], concentration[start : start + count]
            for i in range(count):
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                lanes[i] = draws.loggamma_attempt(a[i], k, at, stream, 0)
            left = list_rejected(waiting, lanes, count)
            for attempt in range(1, draws.ATTEMPTS):
                if left == 0:
                    break
                for j in range(left):
                    i = waiting[j]
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    found[j] = draws.loggamma_attempt(a[i], k, at, stream, attempt)
                for j in range(left):
                    lanes[waiting[j]] = found[j]
                left = keep_rejected(waiting, found, left)
    else:
        for i in range(n):
            out[i] = draws.loggamma_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)


if SINGLE:

    @shared("void(float32[::1],float32[::1],float32[::1],int64)")
    def _expansion(y, a, slope, count):
        """Slopes of `count` lanes by Temme's expansion."""
        prefer_full_width()
        for j in range(count):
            slope[j] = draws.slope_expansion(y[j], a[j])

    @shared("void(float32[::1],float32[::1],float32[::1],float32[::1],float32[::1],int64)")
    def _series(x, y, a, total, slope, count):
        """Slopes of `count` lanes by the power series; `x` and `total` are scratch."""
        prefer_full_width()
        for j in range(count):
            x[j], total[j], slope[j] = exp(y[j]), ONE, ZERO
        for k in range(draws.SERIES_TERMS - draws.STRIDE + 1, 0, -draws.STRIDE):
            term = real(k)
            for j in range(count):
                total[j], slope[j] = draws.series_terms(x[j], a[j], term, total[j], slope[j])
        for j in range(count):
            slope[j] = draws.slope_of_series(y[j], a[j], total[j], slope[j])

    @shared("void(float32[::1],float32[::1],float32[::1],float32[::1],float32[::1],int64)")
    def _fraction(x, y, a, total, slope, count):
        """Slopes of `count` lanes by the continued fraction; `x` and `total` are scratch."""
        prefer_full_width()
        for j in range(count):
            x[j] = exp(y[j])
            total[j], slope[j] = draws.fraction_start(x[j], a[j])
        for k in range(draws.FRACTION_TERMS - draws.STRIDE + 1, 0, -draws.STRIDE):
            term = real(k)
            for j in range(count):
                total[j], slope[j] = draws.fraction_terms(x[j], a[j], term, total[j], slope[j])
        for j in range(count):
            slope[j] = draws.slope_of_fraction(y[j], a[j], total[j], slope[j])


@shared(_SLOPES.format(_GAMMA_VECTORS))
def loggamma_slope_lanes_real(out, y, concentration, n):
    """Write the slopes of `n` logarithms `y` of gamma variables to `out`{: the lanes of one formula at a time | }."""
    if SINGLE:
        prefer_full_width()
        kind, members = stack_array(DRAW_LANES, i32), stack_array(DRAW_LANES, i64)
        own_y, own_a, slope = (
            stack_array(DRAW_LANES, real),
            stack_array(DRAW_LANES, real),
            stack_array(DRAW_LANES, real),
        )
        x, total = stack_array(DRAW_LANES, real), stack_array(DRAW_LANES, real)
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, ys, a = out[start : start + count], y[start : start + count], concentration[start : start + count]
            for i in range(count):
                kind[i] = draws.slope_regime(ys[i], a[i])
            for regime in range(3):
                found = list_lanes_of_kind(members, kind, i32(regime), count)
                if found == 0:
                    continue
                for j in range(found):
                    own_y[j], own_a[j] = ys[members[j]], a[members[j]]
                if regime == draws.EXPANSION:
                    _expansion(own_y, own_a, slope, found)
                elif regime == draws.SERIES:
                    _series(x, own_y, own_a, total, slope, found)
                else:
                    _fraction(x, own_y, own_a, total, slope, found)
                for j in range(found):
                    lanes[members[j]] = slope[j]
    else:
        for i in range(n):
            out[i] = draws.loggamma_slope(y[i], concentration[i])
