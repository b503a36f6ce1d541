# title: Initialization, and where NaN comes from

# %% [markdown]
# # 4. Initialization, and where NaN comes from

# %%
import numpy as np

import tinynn as tnn
from tinynn import course

# %% [markdown]
# ## How large should weights be?
#
# A sum of D products of numbers of size 1 has size √D. After ten layers, numbers have exploded or
# vanished, and gradients with them, unless the weights make up for it.

# %% [exercise initialization]


# %% [answer initialization]
def kaiming_normal(shape, rng):
    ### BEGIN SOLUTION
    return rng.normal(size=shape) * np.sqrt(2 / shape[1])
    ### END SOLUTION


# %% [check initialization]

# %% [markdown]
# ## Where NaN comes from
#
# exp(1000) is infinity, infinity / infinity is NaN, and log(0) is -infinity. NaN spreads: one of
# them in a gradient, and a step later every weight is NaN.

# %% [exercise log-softmax]


# %% [answer log-softmax]
def log_softmax(X):
    ### BEGIN SOLUTION
    Z = X - X.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    ### END SOLUTION


# %% [check log-softmax]

# %% [markdown]
# `tinynn.preflight` and `tinynn.diagnose` look for just these things before and while you train.

# %%
model = tnn.ModuleList([tnn.Linear(20, 20, init="zeros"), tnn.ReLU(), tnn.Linear(20, 2)])
X = np.random.default_rng(0).normal(size=(100, 20))
print(tnn.diagnose(model, tnn.CrossEntropyLoss(), X, (X[:, 0] > 0).astype(int)))
