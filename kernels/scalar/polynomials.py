"""Polynomials of fixed degree, for coefficients listed as ``horner4(x, c0, c1, c2, c3, c4)``: by Horner's rule, and
(`paired4` and the like) by one whose products depend less on one another, for functions that scalar chains wait for.
The result has the type of the arguments: the coefficient tables of `f32` and `f64` are cast where they are
defined. Degrees are written out because LLVM must see straight-line code."""

from ppl.kernels.decorators import inline


@inline
def paired4(x, c0, c1, c2, c3, c4):
    """c0 + c1 x + ... + c4 x**4, in pairs of terms: as much work as Horner's rule in a shorter chain."""
    s = x * x
    return (c4 * s + (c3 * x + c2)) * s + (c1 * x + c0)


@inline
def paired5(x, c0, c1, c2, c3, c4, c5):
    """c0 + c1 x + ... + c5 x**5, in pairs of terms."""
    s = x * x
    return ((c5 * x + c4) * s + (c3 * x + c2)) * s + (c1 * x + c0)


@inline
def paired8(x, c0, c1, c2, c3, c4, c5, c6, c7, c8):
    """c0 + c1 x + ... + c8 x**8, in pairs of terms."""
    s = x * x
    high = (c8 * s + (c7 * x + c6)) * s + (c5 * x + c4)
    return high * (s * s) + ((c3 * x + c2) * s + (c1 * x + c0))


@inline
def horner2(x, c0, c1, c2):
    """c0 + c1 x + c2 x**2."""
    return (c2 * x + c1) * x + c0


@inline
def horner3(x, c0, c1, c2, c3):
    """c0 + c1 x + ... + c3 x**3."""
    return ((c3 * x + c2) * x + c1) * x + c0


@inline
def horner4(x, c0, c1, c2, c3, c4):
    """c0 + c1 x + ... + c4 x**4."""
    return (((c4 * x + c3) * x + c2) * x + c1) * x + c0


@inline
def horner5(x, c0, c1, c2, c3, c4, c5):
    """c0 + c1 x + ... + c5 x**5."""
    return ((((c5 * x + c4) * x + c3) * x + c2) * x + c1) * x + c0


@inline
def horner6(x, c0, c1, c2, c3, c4, c5, c6):
    """c0 + c1 x + ... + c6 x**6."""
    return horner5(x, c0, c1, c2, c3, c4, c6 * x + c5)


@inline
def horner7(x, c0, c1, c2, c3, c4, c5, c6, c7):
    """c0 + c1 x + ... + c7 x**7."""
    return horner5(x, c0, c1, c2, c3, c4, (c7 * x + c6) * x + c5)


@inline
def horner8(x, c0, c1, c2, c3, c4, c5, c6, c7, c8):
    """c0 + c1 x + ... + c8 x**8."""
    return horner5(x, c0, c1, c2, c3, c4, horner3(x, c5, c6, c7, c8))


@inline
def horner9(x, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9):
    """c0 + c1 x + ... + c9 x**9."""
    return horner5(x, c0, c1, c2, c3, c4, horner4(x, c5, c6, c7, c8, c9))


@inline
def horner10(x, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10):
    """c0 + c1 x + ... + c10 x**10."""
    return horner5(x, c0, c1, c2, c3, c4, horner5(x, c5, c6, c7, c8, c9, c10))
