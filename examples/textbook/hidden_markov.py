# %% [markdown]
# ## A hidden Markov model: smoothing and forecasts
#
# Three states, 200 observations. The states are summed out by the forward algorithm; the parameters are those of the
# largest likelihood. `posterior_probs` smooths, and goes on to 20 steps of which nothing was seen.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import Categorical, Normal

rng = np.random.default_rng(0)
true = np.array([[0.95, 0.05, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]])
states = [0]
for _ in range(199):
    states.append(rng.choice(3, p=true[states[-1]]))
y = np.append(np.array([-2.0, 0.0, 2.0])[states] + 0.8 * rng.normal(size=200), np.full(20, np.nan))
seen = np.isfinite(y)


@ppl.model
def hidden(y, seen):
    start = ppl.param("start", np.full(3, 1 / 3), constraint="simplex")
    table = ppl.param("table", 0.7 * np.eye(3) + 0.1, constraint="simplex")
    mean, scale = ppl.param("mean", [-1.0, 0.0, 1.0]), ppl.param("scale", 1.0, constraint="positive")

    def step(carry, row):
        (before, first), (value, known) = carry, row
        z = ppl.sample("z", Categorical(probs=np.where(first, start, table[before])))
        ppl.sample("y", Normal(mean[z], scale), obs=value, obs_mask=known)
        return (z, False), None

    ppl.scan(step, (0, True), (y, seen))


# %%
program = ppl.compile(ppl.likelihood(hidden, marginalize=["z"]), dtype="float64", data=(y, seen))
adam = ppl.optim.Adam(ppl.optim.cosine(0.1, 1e-3, 500))
fit = ppl.fit(program, y, seen, steps=500, optimizer=adam, batch_size=None, seed=0, progress=False)
smoothed = program.posterior_probs(fit.state, y, seen)["z"]
forecast = program.predict(fit.state, y, seen, particles=4000, seed=1)
print(fit.params["table"].round(2))
print("means", fit.params["mean"].round(2), "standard deviation", fit.params["scale"].round(2))
print("right states:", (smoothed[seen].argmax(1) == states).mean().round(2))

# %%
figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 3.6), sharex=True, layout="constrained")
top.plot(y, "k.", ms=3)
top.fill_between(np.arange(200, 220), *np.quantile(forecast["y"][:, 200:], [0.05, 0.95], axis=0), alpha=0.3)
top.set(ylabel="y, 90 % ahead")
bottom.stackplot(np.arange(220), smoothed.T, labels=["state 0", "state 1", "state 2"], alpha=0.8)
bottom.axvline(199.5, color="k", lw=1)
bottom.set(xlabel="time", ylabel="probability", xlim=(0, 220), ylim=(0, 1))
bottom.legend(ncols=3, loc="lower left", fontsize=8)
plt.show()
