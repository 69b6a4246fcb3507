# %% [markdown]
# ## Eight schools, centred and non-centred
#
# Eight schools report the effect of a course and its standard error (Rubin, 1981). The effects come from one
# population, whose mean and spread are unknown. The two models are the same law in other coordinates. The guide is
# one normal for all latents in either, and does not fit both equally well: at a small spread the effects of the
# centred model are squeezed into a funnel.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import HalfNormal, Normal

effects = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
errors = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


@ppl.model
def centred(y, e):
    mu, tau = ppl.sample("mu", Normal(0.0, 5.0)), ppl.sample("tau", HalfNormal(5.0))
    with ppl.plate("school", 8):
        theta = ppl.sample("theta", Normal(mu, tau))
    ppl.sample("y", Normal(ppl.collect(theta, "school"), e), obs=y)


@ppl.model
def non_centred(y, e):
    mu, tau = ppl.sample("mu", Normal(0.0, 5.0)), ppl.sample("tau", HalfNormal(5.0))
    with ppl.plate("school", 8):
        t = ppl.sample("t", Normal(0.0, 1.0))
    theta = ppl.deterministic("theta", mu + tau * ppl.collect(t, "school"))
    ppl.sample("y", Normal(theta, e), obs=y)


# %%
def fitted(model):
    """Draws of the best guide."""
    program = ppl.compile(ppl.elbo(model, ppl.autoguide(model, "mvn")), data=(effects, errors), particles=16)
    adam = ppl.optim.Adam(ppl.optim.cosine(0.05, 1e-4, 4000))
    fit = ppl.fit(program, effects, errors, steps=4000, optimizer=adam, batch_size=None, seed=0, progress=False)
    return program.posterior(fit.state, effects, errors, particles=20_000, sites=["mu", "tau", "theta"], seed=1)


drawn = {model.name: fitted(model) for model in (centred, non_centred)}
for name, found in drawn.items():
    print(f"{name}: mu {found['mu'].mean():.1f} ± {found['mu'].std():.1f}", end=", ")
    print(f"tau {found['tau'].mean():.1f} ± {found['tau'].std():.1f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=[3, 2])
for shift, (name, found) in zip((-0.15, 0.15), drawn.items(), strict=True):
    low, middle, high = np.quantile(found["theta"], [0.05, 0.5, 0.95], axis=0)
    left.errorbar(np.arange(8) + shift, middle, [middle - low, high - middle], fmt="o", label=name)
    right.hist(found["tau"], np.linspace(0, 15, 61), density=True, histtype="step", label=name)
left.plot(effects, "kx", label="reported")
left.set(xlabel="school", ylabel="effect (5 %, median, 95 %)")
right.set(xlabel="tau", ylabel="density", xlim=(0, 15))
left.legend(ncols=3, fontsize=8)
plt.show()
