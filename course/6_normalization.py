# title: Normalization

# %% [markdown]
# # 6. Normalization
#
# Batch normalization brings every feature to mean 0 and deviation 1 over the batch, and lets the
# network undo that by a scale γ and a shift β. Its gradient is the best exercise in the chain rule
# that there is: each input has an effect in three ways.

# %%
import numpy as np

import tinynn as tnn
from tinynn import course

# %% [exercise batchnorm-forward]


# %% [answer batchnorm-forward]
class BatchNorm(tnn.Module):
    def __init__(self, features, eps=1e-5):
        self.eps = eps
        self.gamma = tnn.Parameter(np.ones(features))
        self.beta = tnn.Parameter(np.zeros(features))

    def __call__(self, X):
        ### BEGIN SOLUTION
        mean = X.mean(axis=0)
        variance = ((X - mean) ** 2).mean(axis=0)
        sigma = np.sqrt(variance + self.eps)
        X_hat = (X - mean) / sigma
        self._saved = X_hat, sigma
        return self.gamma.data * X_hat + self.beta.data
        ### END SOLUTION


# %% [check batchnorm-forward]

# %% [exercise batchnorm-affine]


# %% [answer batchnorm-affine]
class BatchNorm(BatchNorm):
    def add_gradients(self, delta):
        """Add to the gradients of gamma and beta."""
        ### BEGIN SOLUTION
        X_hat, _ = self._saved
        self.gamma.grad += (delta * X_hat).sum(axis=0)
        self.beta.grad += delta.sum(axis=0)
        ### END SOLUTION

    def backpropagate(self, delta):
        self.add_gradients(delta)
        return delta * 1.0  # the next exercise


# %% [check batchnorm-affine]

# %% [markdown]
# ## Three ways
#
# x̂ = (x - μ) / σ. An input changes x̂ directly, by 1/σ. It changes the mean, which moves *all* rows.
# And it changes the variance, which scales all rows. Take each way by itself; `course.check` tells
# you which one is missing.

# %% [exercise batchnorm-input]


# %% [answer batchnorm-input]
class BatchNorm(BatchNorm):
    def backpropagate(self, delta):
        self.add_gradients(delta)
        ### BEGIN SOLUTION
        X_hat, sigma = self._saved
        d = delta * self.gamma.data
        return (d - d.mean(axis=0) - X_hat * (d * X_hat).mean(axis=0)) / sigma
        ### END SOLUTION


# %% [check batchnorm-input]

# %% [exercise layernorm]


# %% [answer layernorm]
class LayerNorm(tnn.Module):
    def __init__(self, features, eps=1e-5):
        self.eps = eps
        self.gamma = tnn.Parameter(np.ones(features))
        self.beta = tnn.Parameter(np.zeros(features))

    def __call__(self, X):
        ### BEGIN SOLUTION
        mean = X.mean(axis=1, keepdims=True)
        variance = ((X - mean) ** 2).mean(axis=1, keepdims=True)
        sigma = np.sqrt(variance + self.eps)
        X_hat = (X - mean) / sigma
        self._saved = X_hat, sigma
        return self.gamma.data * X_hat + self.beta.data
        ### END SOLUTION

    def backpropagate(self, delta):
        ### BEGIN SOLUTION
        X_hat, sigma = self._saved
        self.gamma.grad += (delta * X_hat).sum(axis=0)
        self.beta.grad += delta.sum(axis=0)
        d = delta * self.gamma.data
        mean = d.mean(axis=1, keepdims=True)
        return (d - mean - X_hat * (d * X_hat).mean(axis=1, keepdims=True)) / sigma
        ### END SOLUTION


# %% [check layernorm]

# %% [markdown]
# ## Is it worth it?
#
# A deep network of ten layers, with your BatchNorm and without.


# %%
def accuracy_of_a_deep_network(normalize):
    from tinynn.data import DigitsDataLoaderFactory

    data = DigitsDataLoaderFactory(batch_size=64)
    modules, width = [], 64
    for i in range(10):
        modules += [tnn.Linear(width, 24, rng=i), *([BatchNorm(24)] if normalize else [])]
        modules += [tnn.Tanh()]
        width = 24
    model = tnn.ModuleList([*modules, tnn.Linear(24, 10, rng=10)]).astype(np.float32)
    optimizer, loss_fn = tnn.SGD(model.parameters(), lr=0.05), tnn.CrossEntropyLoss()
    tnn.fit(model, loss_fn, optimizer, data.train_loader, epochs=2, progress=False)
    return tnn.evaluate(model, loss_fn, data.validation_loader, metrics=["accuracy"])["accuracy"]


for normalize in (False, True):
    try:
        print(f"normalized: {normalize}, accuracy {accuracy_of_a_deep_network(normalize):.1%}")
    except NotImplementedError:
        print("BatchNorm is not written yet")
