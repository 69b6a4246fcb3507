"""The sampler of log-gamma variables, and the derivative of a draw in the concentration (`real`)."""

from ppl.kernels.decorators import inline
from ppl.kernels.scalar import series as series_module
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f32, open_uniform_f64
from ppl.kernels.scalar.polynomials import horner8
from ppl.kernels.source.precision import SINGLE, i32, real
from ppl.kernels.source.scalar.basic import HALF, NAN, ONE, TWO, ZERO, maximum, minimum, sqrt
from ppl.kernels.source.scalar.exponential import exp, log, log1p
from ppl.kernels.source.scalar.gamma import digamma
from ppl.kernels.source.scalar.normal import ndtri

LARGE = real(4.0 if SINGLE else 12.0)

BELOW = real(-2.0 if SINGLE else -1.0)

ABOVE = real(1.0)
"""Temme's expansion serves concentrations from LARGE on where y - log(concentration) is between BELOW and ABOVE."""

ROWS = 6 if SINGLE else 7

COLUMNS = 12 if SINGLE else 18

SLOPE = tuple(
    real(series_module.SLOPE[row * series_module.SLOPE_COLUMNS + n]) for row in range(ROWS) for n in range(COLUMNS)
)

if SINGLE:
    EXPANSION, SERIES, FRACTION = 0, 1, 2
    SERIES_TERMS, FRACTION_TERMS, STRIDE = 16, 12, 4


@inline
def slope_expansion(y, a):
    """Temme's uniform expansion, differentiated; for {a >= 4 and exp(-2) <= x / a <= e | a >= 12 and x near a}."""
    ratio = y - log(a)
    inverse = ONE / a
    total = ZERO
    for row in range(ROWS - 1, -1, -1):
        value = ZERO
        for n in range(COLUMNS - 1, -1, -1):
            value = value * ratio + SLOPE[row * COLUMNS + n]
        total = total * inverse + value
    return total * inverse


if SINGLE:

    @inline
    def slope_regime(y, a):
        """Which formula serves y and concentration a: EXPANSION, SERIES or FRACTION."""
        ratio = y - log(a)
        near = a >= LARGE and ratio >= BELOW and ratio <= ABOVE
        left = exp(y) <= maximum(TWO, a + ONE)
        return i32(EXPANSION) if near else (i32(SERIES) if left else i32(FRACTION))

    @inline
    def series_pair(x, a, k, total, moved):
        """Terms k + 1 and k of `series_terms`, with one division."""
        low, high = a + k, a + (k + ONE)
        both = ONE / (low * high)
        r = both * low
        t = x * r
        moved, total = t * (moved - r * total), ONE + t * total
        r = both * high
        t = x * r
        return ONE + t * total, t * (moved - r * total)

    @inline
    def series_terms(x, a, k, total, moved):
        """Terms k + 3 to k of S = 1 + x / (a + 1) (1 + x / (a + 2) (1 + ...)) and of dS / da, by Horner's rule."""
        total, moved = series_pair(x, a, k + TWO, total, moved)
        return series_pair(x, a, k, total, moved)

    @inline
    def slope_of_series(y, a, total, moved):
        """The slope from S and dS / da, the power series of the lower incomplete gamma function."""
        return (total * (digamma(a + ONE) - y) - moved) / a

    @inline
    def fraction_start(x, a):
        """Where `fraction_terms` begin: the last denominator and its derivative."""
        return x + real(2 * FRACTION_TERMS + 1) - a, -ONE

    @inline
    def fraction_term(x, a, k, value, moved):
        """Step k of the continued fraction's denominator and its derivative in a."""
        inverse = ONE / value
        weight = k * (a - k) * inverse
        return x + (TWO * k - ONE) - a + weight, (k - weight * moved) * inverse - ONE

    @inline
    def fraction_terms(x, a, k, value, moved):
        """Steps k + 3 to k of the continued fraction of the upper incomplete gamma function, backwards."""
        value, moved = fraction_term(x, a, k + real(3.0), value, moved)
        value, moved = fraction_term(x, a, k + TWO, value, moved)
        value, moved = fraction_term(x, a, k + ONE, value, moved)
        return fraction_term(x, a, k, value, moved)

    @inline
    def slope_of_fraction(y, a, value, moved):
        """The slope from the continued fraction's denominator and its derivative."""
        inverse = ONE / value
        return (y - digamma(a) - moved * inverse) * inverse

else:

    @inline
    def _slope_series(y, a):
        """From the power series of the lower incomplete gamma function; for x up to about a + 1."""
        x = exp(y)
        term, harmonic, total, moved = ONE, ZERO, ONE, ZERO
        for n in range(1, 400):
            step = ONE / (a + real(n))
            term *= x * step
            harmonic += step
            total += term
            moved += term * harmonic
            if term * (ONE + harmonic) < real(1e-17) * total:
                break
        return (total * (digamma(a + ONE) - y) + moved) / a

    @inline
    def _slope_fraction(y, a):
        """From the continued fraction of the upper incomplete gamma function, evaluated backwards; for x > a + 1."""
        x = exp(y)
        last = int(minimum(real(40.0) + real(90.0) / x, real(400.0)))
        value, moved = x + real(2 * last + 1) - a, -ONE
        for k in range(last, 0, -1):
            weight = real(k) * (a - real(k)) / value
            moved = -ONE + (real(k) - weight * moved) / value
            value = x + real(2 * k - 1) - a + weight
        return (y - digamma(a)) / value - moved / (value * value)


@inline
def loggamma_slope(y, concentration):
    """dy / d concentration at a fixed quantile, -(dF / d concentration) / (x p(x)) with x = exp(y).

    Relative error {2e-5 | 1e-9} against quadrature, from concentration 1e-3 to 1e6 (Figurnov, Mohamed & Mnih 2018; the
    expansion is Temme's, DLMF 8.12{; the truncated series and fraction are right to 6e-7 | }).
    """
    if SINGLE:
        a, regime = concentration, slope_regime(y, concentration)
        if regime == EXPANSION:
            return slope_expansion(y, a)
        x = exp(y)
        if regime == SERIES:
            total, moved = ONE, ZERO
            for k in range(SERIES_TERMS - STRIDE + 1, 0, -STRIDE):
                total, moved = series_terms(x, a, real(k), total, moved)
            return slope_of_series(y, a, total, moved)
        value, moved = fraction_start(x, a)
        for k in range(FRACTION_TERMS - STRIDE + 1, 0, -STRIDE):
            value, moved = fraction_terms(x, a, real(k), value, moved)
        return slope_of_fraction(y, a, value, moved)
    else:
        a = concentration
        if a >= LARGE and BELOW <= y - log(a) <= ABOVE:
            return slope_expansion(y, a)
        if exp(y) <= maximum(TWO, a + ONE):
            return _slope_series(y, a)
        return _slope_fraction(y, a)


ATTEMPTS = 60

THIRD = real(1 / 3)

if SINGLE:
    REST = tuple(real((-1) ** (n + 1) / n) for n in range(4, 13))

    @inline
    def _log1p_rest(s, log1p_s):
        """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel; without a branch."""
        square = s * s
        near = s >= real(-0.25) and s <= real(0.25)
        series = square * square * horner8(s, *REST)
        return series if near else log1p_s - s + square * (HALF - s * THIRD)

    @inline
    def loggamma_attempt(concentration, key, column, stream, attempt):
        """The logarithm of one proposed draw, NaN where it is rejected; without a branch, so that loops vectorise."""
        small = concentration < ONE
        d = (concentration + ONE if small else concentration) - THIRD
        w0, w1, w2, _ = attempt_words(key, column, stream, attempt)
        s = THIRD / sqrt(d) * ndtri(open_uniform_f32(w0))
        inside = s > -ONE
        s = s if inside else ZERO
        log1p_s = log1p(s)
        accepted = inside and log(open_uniform_f32(w1)) < real(3.0) * d * _log1p_rest(s, log1p_s)
        boost = log(open_uniform_f32(w2)) / concentration if small else ZERO
        return log(d) + real(3.0) * log1p_s + boost if accepted else NAN

else:
    BOOST = 63

    @inline
    def _log1p_rest(s):
        """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel."""
        if s < real(-0.25) or s > real(0.25):
            return log1p(s) - s + s * s * (HALF - s * THIRD)
        total, power = ZERO, -s * s * s * s
        for n in range(4, 26):
            total += power / real(n)
            power *= -s
        return total


@inline
def loggamma_draw(concentration, key, column, stream):
    """The logarithm of a standard gamma draw (Marsaglia & Tsang 2000, boosted below concentration 1).

    Parameters
    ----------
    concentration : positive.
    key : uint64
        One per row and particle, of this node and step.
    column, stream : int
        Event entry, and which of the gamma draws of that entry (below 1024).
    """
    if SINGLE:
        y = NAN
        for attempt in range(ATTEMPTS):
            y = loggamma_attempt(concentration, key, column, stream, attempt)
            if y == y:
                break
    else:
        small = concentration < ONE
        d = (concentration + ONE if small else concentration) - THIRD
        c = THIRD / sqrt(d)
        s = ZERO
        for attempt in range(ATTEMPTS):
            w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
            z, u = ndtri(open_uniform_f64(w0, w1)), open_uniform_f64(w2, w3)
            s = c * z
            if s > -ONE and log(u) < real(3.0) * d * _log1p_rest(s):
                break
        y = log(d) + real(3.0) * log1p(s)
        if small:
            w0, w1, w2, w3 = attempt_words(key, column, stream, BOOST)
            y += log(open_uniform_f64(w0, w1)) / concentration
    return y
