# %% [markdown]
# ## Censored and missing data
#
# Weibull lifetimes that depend on a dose. Whoever was alive after eight hours is only known to have been, and some
# records are lost. With `complete=True` the model also draws what was not seen: lost lifetimes anew, those beyond
# eight hours from there on.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import LogNormal, Normal, Truncated, Weibull

rng = np.random.default_rng(4)
dose = rng.uniform(0.0, 1.0, size=80)
life = np.exp(1.5 + 0.8 * dose) * rng.weibull(1.8, size=80)
lost, alive = rng.random(80) < 0.15, life > 8.0
hours = np.where(lost, np.nan, np.minimum(life, 8.0))


@ppl.model
def survival(hours, lost, alive, dose, *, complete=False):
    shape, w = ppl.sample("shape", LogNormal(0.0, 1.0)), ppl.sample("w", Normal(np.zeros(2), 2.0))
    with ppl.plate("data", hours, lost, alive, dose) as (hours, lost, alive, dose):
        law = Weibull(shape, np.exp(w[0] + w[1] * dose))
        ppl.sample("hours", law, obs=hours, obs_mask=~lost & ~alive)
        ppl.factor("alive", np.where(alive & ~lost, law.log_sf(8.0), 0.0))
        if complete:
            ppl.sample("beyond", Truncated(law, low=8.0))


# %%
data = hours, lost, alive, dose
guide = ppl.autoguide(survival, "mvn")
program = ppl.compile(ppl.elbo(survival, guide), data=data, particles=8)
adam = ppl.optim.Adam(ppl.optim.cosine(0.05, 2e-4, 2000))
fit = ppl.fit(program, *data, steps=2000, optimizer=adam, batch_size=None, seed=0, progress=False)
full = ppl.compile(ppl.predictive(survival.bind(complete=True), guide), data=data)
drawn = full.predict(fit.state, *data, particles=4000, seed=1)
whole = np.where(lost, drawn["hours"], np.where(alive, drawn["beyond"], hours))
print("shape", drawn["shape"].mean().round(2), "±", drawn["shape"].std().round(2))
print("effect of the dose", drawn["w"][:, 1].mean().round(2), "±", drawn["w"][:, 1].std().round(2))
print(
    "mean lifetime:",
    whole.mean(1).mean().round(1),
    "±",
    whole.mean(1).std().round(1),
    "; of the truth:",
    life.mean().round(1),
)

# %%
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
for rows, colour, name in ((alive & ~lost, "C0", "alive after eight hours"), (lost, "C1", "lost")):
    low, middle, high = np.quantile(whole[:, rows], [0.05, 0.5, 0.95], axis=0)
    ax.errorbar(dose[rows], middle, [middle - low, high - middle], fmt="o", ms=3, lw=0.8, color=colour, label=name)
seen = ~lost & ~alive
ax.plot(dose[seen], hours[seen], "k.", label="seen")
ax.plot(dose[~seen], life[~seen], "kx", ms=4, label="truth")
ax.set(xlabel="dose", ylabel="hours (5 %, median, 95 %)", yscale="log", ylim=(0.4, 60))
ax.legend(ncols=4, fontsize=8)
plt.show()
