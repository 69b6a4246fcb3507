# %% [markdown]
# ## Matrix factorisation of 100,000 ratings
#
# A rating is the product of a user's and an item's five numbers, plus noise. Users are rows of data: the guide has a
# table of parameters for them (`rows=`), of which a minibatch reads and moves its rows alone (`LazyAdam`). All
# products of zeros have a slope of zero, so that the items start elsewhere. A tenth of the ratings is held back by
# `obs_mask`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import HalfNormal, Normal

rng = np.random.default_rng(5)
USERS, ITEMS, RANK, EACH = 2000, 1000, 5, 50
user, thing = rng.normal(size=(USERS, RANK)), rng.normal(size=(ITEMS, RANK)) / np.sqrt(RANK)
item = rng.integers(0, ITEMS, (USERS, EACH))
truth = np.einsum("uk,ujk->uj", user, thing[item])
rating = (truth + 0.5 * rng.normal(size=item.shape)).astype(np.float32)
kept = rng.random(item.shape) < 0.9


@ppl.model
def factors(rating, item, kept):
    noise = ppl.sample("noise", HalfNormal(1.0))
    with ppl.plate("items", ITEMS):
        v = ppl.sample("v", Normal(np.zeros(RANK), RANK**-0.5))
    v = ppl.collect(v, "items")
    with ppl.plate("users", rating, item, kept) as (rating, item, kept):
        u = ppl.sample("u", Normal(np.zeros(RANK), 1.0))
        ppl.sample("rating", Normal(v[item] @ u, noise), obs=rating, obs_mask=kept)


# %%
data = rating, item, kept
guide = ppl.autoguide(factors, rows={"users": USERS})
program = ppl.compile(ppl.elbo(factors, guide), data=data)
start = program.init(0, params={"guide/v/loc": 0.3 * rng.normal(size=(ITEMS, RANK))})
adam = ppl.optim.LazyAdam(ppl.optim.cosine(0.05, 1e-3, 1500))
fit = ppl.fit(program, *data, epochs=150, batch_size=200, optimizer=adam, state=start, progress=False)
drawn = program.sample(fit.state, *data, particles=200, seed=1)
predicted = np.einsum("puk,pujk->puj", drawn["u"], drawn["v"][:, item])
mean, spread = predicted.mean(0), predicted.std(0)
print("noise:", drawn["noise"].mean().round(3), "of the truth: 0.5")
print("error of what was held back:", np.sqrt(np.mean((mean - rating)[~kept] ** 2)).round(3))
low, high = np.quantile(drawn["rating"][:, ~kept], [0.05, 0.95], axis=0)
print("inside of 90 %:", np.mean((low < rating[~kept]) & (rating[~kept] < high)).round(3))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(fit.history["loss"], lw=0.7)
left.set(xlabel="step", ylabel="negative bound, a user")
right.hexbin(truth[~kept], mean[~kept], gridsize=40, mincnt=1, bins="log")
right.axline((0, 0), slope=1, color="k", lw=0.8)
right.set(xlabel="expected rating", ylabel="found, of those held back")
plt.show()
