# %% [markdown]
# ## A linear mixed model
#
# Reaction times over days. Every subject has an intercept and a slope; they are correlated, and the correlation has
# an LKJ prior. Groups are ragged (2 to 10 rows each): a column says which subject a row is of.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import HalfNormal, LKJCholesky, MultivariateNormal, Normal

rng = np.random.default_rng(1)
subject = np.repeat(np.arange(18), rng.integers(2, 11, size=18))
day = np.concatenate([np.arange(n) for n in np.bincount(subject)]) / 5.0
effect = rng.multivariate_normal([2.5, 0.5], [[0.25, 0.06], [0.06, 0.09]], size=18)
time = effect[subject, 0] + effect[subject, 1] * day + 0.25 * rng.normal(size=len(day))


@ppl.model
def mixed(time, day, subject):
    beta = ppl.sample("beta", Normal(np.zeros(2), 5.0))
    tau = ppl.sample("tau", HalfNormal(np.ones(2)))
    factor = ppl.sample("factor", LKJCholesky(2, 2.0))
    sigma = ppl.sample("sigma", HalfNormal(1.0))
    with ppl.plate("subjects", 18):
        b = ppl.sample("b", MultivariateNormal(beta, scale_tril=np.reshape(tau, (2, 1)) * factor))
    b = ppl.collect(b, "subjects")
    with ppl.plate("rows", time, day, subject) as (time, day, subject):
        own = b[subject]
        ppl.sample("time", Normal(own[0] + own[1] * day, sigma), obs=time)


# %%
data = time, day, subject
program = ppl.compile(ppl.elbo(mixed, ppl.autoguide(mixed, "mvn")), data=data, particles=8)
adam = ppl.optim.Adam(ppl.optim.cosine(0.03, 1e-4, 6000))
fit = ppl.fit(program, *data, steps=6000, optimizer=adam, batch_size=None, seed=0, progress=False)
drawn = program.posterior(fit.state, *data, particles=10_000, seed=1)
for name in ("beta", "tau", "sigma"):
    print(name, drawn[name].mean(0).round(2), "±", drawn[name].std(0).round(2))
print("correlation", drawn["factor"][:, 1, 0].mean().round(2), "±", drawn["factor"][:, 1, 0].std().round(2))

# %%
figure, axes = plt.subplots(2, 9, figsize=(9, 3), sharex=True, sharey=True, layout="constrained")
days = np.linspace(0.0, 2.0, 30)
lines = drawn["b"][:, :, :1] + drawn["b"][:, :, 1:] * days
for j, ax in enumerate(axes.flat):
    ax.fill_between(5 * days, *np.quantile(lines[:, j], [0.05, 0.95], axis=0), alpha=0.3)
    ax.plot(5 * day[subject == j], time[subject == j], "k.")
figure.supxlabel("day")
figure.supylabel("time")
plt.show()
