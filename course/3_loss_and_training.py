# title: A loss, and the training loop

# %% [markdown]
# # 3. A loss, and the training loop

# %%
import numpy as np

import tinynn as tnn
from tinynn import course

# %% [markdown]
# ## Cross-entropy
#
# How surprised is a model by the right class? By -log of the probability that it gave to it. The
# loss takes scores ("logits"), not probabilities, so that softmax and logarithm can be one formula
# that never overflows.

# %% [exercise cross-entropy]


# %% [answer cross-entropy]
class CrossEntropyLoss:
    def __call__(self, logits, y):
        ### BEGIN SOLUTION
        Z = logits - logits.max(axis=1, keepdims=True)
        log_P = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
        self._saved = log_P, y
        return -log_P[np.arange(len(y)), y].mean()
        ### END SOLUTION

    def backpropagate(self):
        ### BEGIN SOLUTION
        log_P, y = self._saved
        dZ = np.exp(log_P)
        dZ[np.arange(len(y)), y] -= 1
        return dZ / len(y)
        ### END SOLUTION


# %% [check cross-entropy]

# %% [markdown]
# ## The loop
#
# Training is four lines, repeated.

# %% [exercise training-loop]


# %% [answer training-loop]
def train(model, loss_fn, optimizer, batches, epochs):
    ### BEGIN SOLUTION
    losses = []
    for _ in range(epochs):
        total = rows = 0
        for X, y in batches:
            loss = loss_fn(model(X), y)
            model.backpropagate(loss_fn.backpropagate())
            optimizer.step()
            total += loss * len(X)
            rows += len(X)
        losses.append(total / rows)
    return losses
    ### END SOLUTION


# %% [check training-loop]

# %% [markdown]
# ## With a real network
#
# Your loop, your loss, on images of digits.


# %%
def try_it():
    from tinynn.data import DigitsDataLoaderFactory

    data = DigitsDataLoaderFactory(batch_size=64)
    model = tnn.ModuleList([tnn.Linear(64, 32, rng=0), tnn.ReLU(), tnn.Linear(32, 10, rng=1)])
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    return train(model, CrossEntropyLoss(), optimizer, list(data.train_loader), epochs=5)


try:
    print([round(float(loss), 3) for loss in try_it()])
except NotImplementedError:
    print("the loop is not written yet")
