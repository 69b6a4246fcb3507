# %% [markdown]
# ## An autoregressive process, with forecasts
#
# y' = c + a₁ y + a₂ y₋₁ + noise, 200 steps. `ppl.scan` compiles one step. With `horizon=` the model goes on: values
# that are latent, which the guide does not have, so that `ppl.predictive` draws them from the model, given the other
# latents.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import HalfNormal, Normal

rng = np.random.default_rng(6)
series = [2.0, 2.0]
for _ in range(230):
    series.append(1.0 + 1.3 * series[-1] - 0.5 * series[-2] + 0.5 * rng.normal())
y, later = np.array(series[2:202]), np.array(series[202:])


@ppl.model
def autoregression(y, *, horizon=0):
    c, a = ppl.sample("c", Normal(0.0, 2.0)), ppl.sample("a", Normal(np.zeros(2), 1.0))
    sigma = ppl.sample("sigma", HalfNormal(1.0))

    def law(last):
        return Normal(c + a[0] * last[0] + a[1] * last[1], sigma)

    def seen(last, value):
        ppl.sample("y", law(last), obs=value)
        return (value, last[0]), None

    def ahead(last, t):
        return (ppl.sample("later", law(last)), last[0]), None

    last, _ = ppl.scan(seen, (2.0, 2.0), y)
    if horizon:
        ppl.scan(ahead, last, length=horizon)


# %%
guide = ppl.autoguide(autoregression, "mvn")
program = ppl.compile(ppl.elbo(autoregression, guide), data=(y,), particles=8)
adam = ppl.optim.Adam(ppl.optim.cosine(0.05, 2e-4, 2000))
fit = ppl.fit(program, y, steps=2000, optimizer=adam, batch_size=None, seed=0, progress=False)
on = ppl.compile(ppl.predictive(autoregression.bind(horizon=30), guide), data=(y,))
drawn = on.predict(fit.state, y, particles=4000, seed=1)
for name in ("c", "a", "sigma"):
    print(name, drawn[name].mean(0).round(2), "±", drawn[name].std(0).round(2))

# %%
figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
ax.plot(np.arange(120, 200), y[120:], "k", label="seen")
ax.plot(np.arange(199, 230), [y[-1], *later], "k--", lw=1, label="what came")
for p, shade in ((0.05, 0.2), (0.25, 0.3)):
    ax.fill_between(np.arange(200, 230), *np.quantile(drawn["later"], [p, 1 - p], axis=0), color="C0", alpha=shade)
ax.plot(np.arange(200, 230), drawn["later"].mean(0), label="forecast, 50 % and 90 %")
ax.set(xlabel="time", ylabel="y")
ax.legend(ncols=3)
plt.show()
