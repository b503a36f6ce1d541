# title: Activations

# %% [markdown]
# # 2. Activations
#
# Two linear layers behind each other are one linear layer. What makes a network more than that
# stands between them: a function of single numbers that is not a straight line.

# %%
import numpy as np

import tinynn as tnn
from tinynn import course

# %% [exercise sigmoid]


# %% [answer sigmoid]
class Sigmoid(tnn.Module):
    def __call__(self, X):
        ### BEGIN SOLUTION
        S = 1 / (1 + np.exp(-X))
        self._saved = S
        return S
        ### END SOLUTION

    def backpropagate(self, delta):
        ### BEGIN SOLUTION
        S = self._saved
        return delta * S * (1 - S)
        ### END SOLUTION


# %% [check sigmoid]

# %% [markdown]
# The sigmoid's slope is at most 1/4, and almost zero for large numbers: behind a few of them, the
# gradient has vanished. ReLU has slope 1 wherever it is on.

# %% [exercise relu]


# %% [answer relu]
class ReLU(tnn.Module):
    def __call__(self, X):
        ### BEGIN SOLUTION
        self._saved = X
        return np.maximum(X, 0)
        ### END SOLUTION

    def backpropagate(self, delta):
        ### BEGIN SOLUTION
        X = self._saved
        return delta * (X > 0)
        ### END SOLUTION


# %% [check relu]

# %% [exercise leaky-relu]


# %% [answer leaky-relu]
class LeakyReLU(tnn.Module):
    def __init__(self, slope):
        self.slope = slope

    def __call__(self, X):
        ### BEGIN SOLUTION
        self._saved = X
        return np.where(X > 0, X, self.slope * X)
        ### END SOLUTION

    def backpropagate(self, delta):
        ### BEGIN SOLUTION
        X = self._saved
        return delta * np.where(X > 0, 1, self.slope)
        ### END SOLUTION


# %% [check leaky-relu]

# %% [markdown]
# ## Softmax is different
#
# It turns a row of scores into probabilities, which sum to 1. So each output depends on *every*
# input of its row, and the derivative is a matrix for each row, not a number for each number.

# %% [exercise softmax]


# %% [answer softmax]
class Softmax(tnn.Module):
    def __call__(self, X):
        ### BEGIN SOLUTION
        E = np.exp(X - X.max(axis=1, keepdims=True))
        S = E / E.sum(axis=1, keepdims=True)
        self._saved = S
        return S
        ### END SOLUTION

    def backpropagate(self, delta):
        ### BEGIN SOLUTION
        S = self._saved
        return S * (delta - (delta * S).sum(axis=1, keepdims=True))
        ### END SOLUTION


# %% [check softmax]

# %% [markdown]
# ## Activations on MNIST: which one learns better?
#
# Your own modules train as the library's do. The images are those of MNIST if they are on this
# machine: in the library's cache, or in the folder that the environment variable `TINYNN_DATA`
# names. If not, they are the small digits that come with the library. To download MNIST once, run
# `tinynn.data.MNISTDataLoaderFactory()`.


# %%
def images():
    from tinynn.data import DigitsDataLoaderFactory, MNISTDataLoaderFactory

    class StoredMNIST(MNISTDataLoaderFactory):
        hosts = ()  # do not download: an exercise must not wait for the network

    try:
        data = StoredMNIST(batch_size=64)
    except tnn.DataError:
        print("MNIST is not on this machine: this is a SMALL run, on digits of 8 × 8 pixels")
        data = DigitsDataLoaderFactory(batch_size=32)
    return data


data = images()
print(data)


# %%
def trained_with(activation):
    n_pixels = data.feature_shape[0]
    model = tnn.ModuleList([tnn.Linear(n_pixels, 32, rng=0), activation, tnn.Linear(32, 10, rng=1)])
    optimizer = tnn.Adam(model.parameters(), lr=0.003)
    loss_fn = tnn.CrossEntropyLoss()
    epochs = 1 if n_pixels == 784 else 3
    tnn.fit(model, loss_fn, optimizer, data.train_loader, epochs=epochs, progress=False)
    return tnn.evaluate(model, loss_fn, data.test_loader, metrics=["accuracy"])["accuracy"]


for activation in (Sigmoid, ReLU):
    try:
        print(f"{activation.__name__}: {trained_with(activation()):.1%} of the test images right")
    except NotImplementedError:
        print(f"{activation.__name__} is not written yet")
