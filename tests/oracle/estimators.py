"""The unbiased estimators that random plans are drawn from."""

from __future__ import annotations

from tests.helpers.choices import UNBIASED, Choice

ORDER = (
    "enumerate", "sum-components", "analytic", "pathwise", "implicit", "rebar", "rebar-sharp", "relax", "disarm", "arm",
    "categorical-disarm", "measure-valued", "sticking-the-landing", "doubly-reparameterized", "vimco", "bonnet-price",
    "score", "score-moving-average", "score-learned", "score-leave-one-out", "score-optimal",
)  # fmt: skip
"""The order of the draws, so that a seed means the same plan again; what is not named here comes last."""
SETTLED = ("score-constant", "rebar-temperature", "relax-temperature")
"""Settings that are not drawn: others of the same estimator are."""

CHOICES: dict[str, Choice] = {
    name: UNBIASED[name] for name in (*ORDER, *UNBIASED) if name in UNBIASED and name not in SETTLED
}
EXACT = ("enumerate", "analytic")
