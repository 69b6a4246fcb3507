"""How a gamma variable moves with its concentration at a fixed quantile (float64)."""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f64.basic import ONE, ZERO, maximum, minimum
from ppl.kernels.scalar.f64.exponential import exp, log
from ppl.kernels.scalar.f64.gamma import digamma

f64 = np.float64

ROWS = 7
# alpha * slope in powers of l = y - log(alpha), row after row in powers of 1 / alpha; row 0 is l / (e**l - 1)
# (`ppl.kernels.scalar.fit_gamma`)
COLUMNS = 18
SLOPE = tuple(
    map(
        f64,
        (
            1.0,
            -0.5,
            0.083333333333333333,
            0.0,
            -0.0013888888888888889,
            0.0,
            3.3068783068783069e-5,
            0.0,
            -8.2671957671957672e-7,
            0.0,
            2.0876756987868099e-8,
            0.0,
            -5.2841901386874932e-10,
            0.0,
            1.3382536530684679e-11,
            0.0,
            -3.3896802963225829e-13,
            0.0,
            0.16666666666666667,
            -0.083333333333333333,
            0.0083333333333333333,
            0.0027777777777777778,
            -0.00049603174603174603,
            -9.9206349206349206e-5,
            2.3148148148148148e-5,
            3.3068783068783069e-6,
            -9.3945406445406445e-7,
            -1.0438378493934049e-7,
            3.4875654915337455e-8,
            3.1705140832124959e-9,
            -1.2178108242923058e-9,
            -9.3677755714792752e-11,
            4.0676163555870994e-11,
            2.7117442370580663e-12,
            -1.3136674946105102e-12,
            -7.7274558506500601e-14,
            0.016666666666666667,
            0.0,
            -0.0047619047619047619,
            0.0011904761904761905,
            0.00019841269841269841,
            -9.9206349206349206e-5,
            -4.2087542087542088e-6,
            5.7118807118807119e-6,
            -8.0111687254544397e-8,
            -2.7323316013792204e-7,
            1.4031016015142999e-8,
            1.1649689229054308e-8,
            -9.3740732357290091e-10,
            -4.5894228219936281e-10,
            4.8312927009727367e-11,
            1.7063609221963792e-11,
            -2.1759210323962603e-12,
            -6.0695848600463087e-13,
            -0.0095238095238095238,
            0.0083333333333333333,
            -0.0017857142857142857,
            -0.00059523809523809524,
            0.00030212842712842713,
            6.3131313131313131e-6,
            -2.4154086654086654e-5,
            2.0003145003145003e-6,
            1.3856431267145553e-6,
            -2.2182127836889742e-7,
            -6.4429558623069361e-8,
            1.5559324178605224e-8,
            2.5485078721468307e-9,
            -8.8402218945591265e-10,
            -8.6707567060653271e-11,
            4.4120305923691552e-11,
            2.4625877236974837e-12,
            -2.0119344662099795e-12,
            -0.0035714285714285714,
            0.0,
            0.0018037518037518038,
            -0.0007215007215007215,
            -5.5037555037555038e-5,
            9.1575091575091575e-5,
            -9.7895931229264563e-6,
            -6.475006475006475e-6,
            1.5218629539357831e-6,
            3.1000702102476145e-7,
            -1.2994766140907638e-7,
            -9.3481959912742752e-9,
            8.4891023969229237e-9,
            -2.6365819227355123e-12,
            -4.6931717803472611e-10,
            2.4770312737605766e-11,
            2.3031708184308063e-11,
            -2.2551461747574313e-12,
            0.0036075036075036075,
            -0.0039682539682539683,
            0.0011627261627261627,
            0.00038757538757538758,
            -0.00031103156103156103,
            2.5206275206275206e-5,
            3.0367689681415172e-5,
            -7.7819913254086924e-6,
            -1.6086154571153834e-6,
            8.5929568925252579e-7,
            2.6399936382204143e-8,
            -6.5335723849860499e-8,
            4.185294758240463e-9,
            3.9371761166045896e-9,
            -5.6039074429893613e-10,
            -1.985048791332127e-10,
            4.5173519011930624e-11,
            8.510089588240934e-12,
            0.0023254523254523255,
            0.0,
            -0.0016317016317016317,
            0.00084498834498834499,
            1.2283468165821107e-5,
            -0.00013668929110105581,
            3.1356743818044128e-5,
            9.4920344533347629e-6,
            -4.9713698610757434e-6,
            -1.2735617257031086e-7,
            4.5654589701661238e-7,
            -4.6442060880130158e-8,
            -3.0221881363541857e-8,
            6.5114149758229029e-9,
            1.5118803258618844e-9,
            -5.6728377724121731e-10,
            -5.2776611835300761e-11,
            3.921086880231155e-11,
        ),
    )
)


@inline
def _slope_series(y, a):
    """From the power series of the lower incomplete gamma function; for x up to about a + 1."""
    x = exp(y)
    term, harmonic, total, moved = ONE, ZERO, ONE, ZERO
    for n in range(1, 400):
        step = ONE / (a + f64(n))
        term *= x * step
        harmonic += step
        total += term
        moved += term * harmonic
        if term * (ONE + harmonic) < f64(1e-17) * total:
            break
    return (total * (digamma(a + ONE) - y) + moved) / a


@inline
def _slope_fraction(y, a):
    """From the continued fraction of the upper incomplete gamma function, evaluated backwards; for x > a + 1."""
    x = exp(y)
    last = int(minimum(f64(40.0) + f64(90.0) / x, f64(400.0)))
    value, moved = x + f64(2 * last + 1) - a, -ONE
    for k in range(last, 0, -1):
        weight = f64(k) * (a - f64(k)) / value
        moved = -ONE + (f64(k) - weight * moved) / value
        value = x + f64(2 * k - 1) - a + weight
    return (y - digamma(a)) / value - moved / (value * value)


@inline
def _slope_expansion(y, a):
    """Temme's uniform expansion, differentiated; for a >= 12 and x within a factor e of a."""
    ratio = y - log(a)
    inverse = ONE / a
    total = ZERO
    for row in range(ROWS - 1, -1, -1):
        value = ZERO
        for n in range(COLUMNS - 1, -1, -1):
            value = value * ratio + SLOPE[row * COLUMNS + n]
        total = total * inverse + value
    return total * inverse


@inline
def loggamma_slope(y, concentration):
    """dy / d concentration at a fixed quantile, -(dF / d concentration) / (x p(x)) with x = exp(y).

    Relative error 1e-9 against quadrature, from concentration 1e-3 to 1e6 (Figurnov, Mohamed & Mnih 2018; the
    expansion is Temme's, DLMF 8.12).
    """
    a = concentration
    if a >= f64(12.0) and -ONE <= y - log(a) <= ONE:
        return _slope_expansion(y, a)
    if exp(y) <= maximum(f64(2.0), a + ONE):
        return _slope_series(y, a)
    return _slope_fraction(y, a)
