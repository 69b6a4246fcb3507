# %% [markdown]
# ## A Gaussian process that learns its kernel
#
# Functions are drawn from N(0, K) with K(x, x') = amplitude² exp(−(x − x')² / (2 length²)), and seen with noise. All
# three numbers have posteriors. With `new=` the model goes on to the function at other points, given the data; the
# guide has nothing to say about these, so that `ppl.predictive` draws them from the model.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import LogNormal, MultivariateNormal

rng = np.random.default_rng(3)
x = np.sort(rng.uniform(0.0, 10.0, size=30))
y = np.sin(x) + 0.3 * rng.normal(size=30)


@ppl.model
def process(y, x, *, new=None):
    amplitude, length = ppl.sample("amplitude", LogNormal(0.0, 1.0)), ppl.sample("length", LogNormal(0.0, 1.0))
    noise = ppl.sample("noise", LogNormal(-1.0, 1.0))

    def kernel(a, b):
        return amplitude**2 * np.exp(-((a[:, None] - b) ** 2) / (2 * length**2))

    covariance = kernel(x, x) + noise**2 * np.eye(30)
    ppl.sample("y", MultivariateNormal(0.0, covariance_matrix=covariance), obs=y)
    if new is not None:
        across = kernel(x, new)
        weights = np.linalg.solve(covariance, across)
        left = kernel(new, new) - across.T @ weights + 1e-6 * np.eye(len(new))
        ppl.sample("f", MultivariateNormal(y @ weights, covariance_matrix=left))


# %%
guide = ppl.autoguide(process, "mvn")
program = ppl.compile(ppl.elbo(process, guide), dtype="float64", data=(y, x), particles=8)
adam = ppl.optim.Adam(ppl.optim.cosine(0.05, 2e-4, 2000))
fit = ppl.fit(program, y, x, steps=2000, optimizer=adam, batch_size=None, seed=0, progress=False)

new = np.linspace(-1.0, 13.0, 43)
ahead = ppl.compile(ppl.predictive(process.bind(new=new), guide), dtype="float64", data=(y, x))
drawn = ahead.predict(fit.state, y, x, particles=4000, seed=1)
for name in ("amplitude", "length", "noise"):
    print(name, drawn[name].mean().round(2), "±", drawn[name].std().round(2))

# %%
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.fill_between(new, *np.quantile(drawn["f"], [0.05, 0.95], axis=0), alpha=0.3, label="90 %")
ax.plot(new, drawn["f"][:5].T, "C0", lw=0.7)
ax.plot(new, np.sin(new), "k--", lw=1, label="truth")
ax.plot(x, y, "k.", label="seen")
ax.set(xlabel="x", ylabel="f")
ax.legend(ncols=3)
plt.show()
