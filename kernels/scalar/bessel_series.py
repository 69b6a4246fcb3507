"""Series of the modified Bessel functions I0 and I1, from which both precisions take their coefficients.

``GAP`` holds r_1, r_2, ... of 1 - I1(x) / I0(x) ~ r_1 / x + r_2 / x**2 + ..., which follow from the Riccati equation
A' = 1 - A / x - A**2 of the ratio A = I1 / I0. Integrated, they are those of log(I0(x) exp(-x) sqrt(2 pi x)).
"""

import math

TERMS = 40


def _gap(count):
    """r_1 to r_count."""
    r = [0.0, 0.5]
    for m in range(2, count + 1):
        r.append(((m - 2) * r[m - 1] + sum(r[i] * r[m - i] for i in range(1, m))) / 2)
    return r[1:]


GAP = tuple(_gap(TERMS))
"""1 - I1 / I0 in powers of 1 / x, from the first on."""
GAP_SLOPE = tuple(k * r for k, r in enumerate(GAP, 1))
"""(I1 / I0)' in powers of 1 / x, from the second on."""
LOG_I0E = tuple(r / k for k, r in enumerate(GAP[1:], 1))
"""log(I0(x) exp(-x) sqrt(2 pi x)) in powers of 1 / x, from the first on."""
I0 = tuple(1 / math.factorial(k) ** 2 for k in range(TERMS))
"""I0(x) in powers of x**2 / 4."""
I1 = tuple(1 / (math.factorial(k) * math.factorial(k + 1)) for k in range(TERMS))
"""2 I1(x) / x in powers of x**2 / 4."""
