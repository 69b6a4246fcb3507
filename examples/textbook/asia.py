# %% [markdown]
# ## A Bayesian network, solved exactly
#
# "Asia" of Lauritzen and Spiegelhalter (1988): what do a visit to Asia, smoking, an X-ray picture and short breath
# say about three diseases? `ppl.condition` enters what is known, and the rest is summed out.

# %%
import matplotlib.pyplot as plt
import numpy as np

import ppl
from ppl import Bernoulli


@ppl.model
def asia():
    def node(name, table, *parents):
        return ppl.sample(name, Bernoulli(probs=ppl.constant(table)[parents])).astype(int)

    visit, smoker = node("visit to Asia", 0.01), node("smoker", 0.5)
    tuberculosis = node("tuberculosis", [0.01, 0.05], visit)
    cancer = node("lung cancer", [0.01, 0.1], smoker)
    bronchitis = node("bronchitis", [0.3, 0.6], smoker)
    node("X-ray", [[0.05, 0.98], [0.98, 0.98]], tuberculosis, cancer)
    node("short breath", [[[0.1, 0.7], [0.7, 0.7]], [[0.8, 0.9], [0.9, 0.9]]], bronchitis, tuberculosis, cancer)


# %%
NODES = ["visit to Asia", "smoker", "tuberculosis", "lung cancer", "bronchitis", "X-ray", "short breath"]


def beliefs(known):
    """The probability of "yes" of every other node."""
    unknown = [name for name in NODES if name not in known]
    program = ppl.compile(ppl.likelihood(ppl.condition(asia, known), marginalize=unknown), dtype="float64")
    return {name: probs[1] for name, probs in program.posterior_probs(program.init(0)).items()}


stories = [{}, {"short breath": 1}, {"short breath": 1, "visit to Asia": 1}]
stories.append({"short breath": 1, "visit to Asia": 1, "smoker": 1, "X-ray": 0})
found = [beliefs(known) for known in stories]
for name in NODES[2:5]:
    print(f"{name:13}", [round(float(probs[name]), 4) for probs in found])

# %%
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for i, (known, probs) in enumerate(zip(stories, found, strict=True)):
    label = ", ".join(name if yes else f"no {name}" for name, yes in known.items()) or "nothing known"
    ax.bar(np.arange(3) + 0.2 * i - 0.3, [probs[n] for n in NODES[2:5]], 0.2, label=label)
ax.set_xticks(range(3), NODES[2:5])
ax.set(ylabel="probability", ylim=(0, 1))
ax.legend(fontsize=8)
plt.show()
