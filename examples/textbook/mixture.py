# %% [markdown]
# ## A mixture and its responsibilities

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import Categorical, Normal

rng = np.random.default_rng(2)
centres = np.array([[-2.0, 0.0], [2.0, 0.5], [0.0, 3.0]])
labels = rng.choice(3, p=[0.5, 0.3, 0.2], size=300)
x = centres[labels] + rng.normal(size=(300, 2)) * [1.0, 0.7]


@ppl.model
def mixture(x):
    weights = ppl.param("weights", np.full(3, 1 / 3), constraint="simplex")
    means = ppl.param("means", [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    scale = ppl.param("scale", np.ones(2), constraint="positive")
    with ppl.plate("data", x) as x:
        k = ppl.sample("k", Categorical(probs=weights))
        ppl.sample("x", Normal(means[k], scale), obs=x)


# %%
program = ppl.compile(ppl.likelihood(mixture, marginalize=["k"]), dtype="float64", data=x)
adam = ppl.optim.Adam(ppl.optim.cosine(0.1, 1e-3, 500))
fit = ppl.fit(program, x, steps=500, optimizer=adam, batch_size=None, seed=0, progress=False)
responsibility = program.posterior_probs(fit.state, x)["k"]
for name, value in fit.params.items():
    print(name, value.round(2).tolist())
print("right components:", (responsibility.argmax(1) == labels).mean().round(2))

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
colours = np.array(plt.color_sequences["tab10"][:3])
ax.scatter(*x.T, c=np.clip(responsibility @ colours, 0, 1), s=12)
ax.plot(*fit.params["means"].T, "kx", ms=9, label="means")
ax.set(xlabel="$x_0$", ylabel="$x_1$", aspect="equal")
ax.legend()
plt.show()
