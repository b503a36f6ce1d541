# title: One neuron, and a layer of them

# %% [markdown]
# # 1. One neuron, and a layer of them
#
# A network is a function with many numbers in it, the weights. Training changes them so that a loss
# becomes small, and needs the derivative of the loss with respect to each of them. In this course
# you write every derivative by hand, and every one is *proved*: the derivative of your own forward
# pass is computed by the complex step, and compared with what you wrote.
#
# Nothing is hidden. `course.check` has no solutions inside; run it as often as you like.

# %%
import numpy as np

import tinynn as tnn
from tinynn import course

# %% [markdown]
# ## The chain rule, once
#
# For y = tanh(z) and z = w · x + b, a small change of w changes z, and that changes y:
# dL/dw = dL/dy · dy/dz · dz/dw. Backpropagation is this, from the right order of brackets on: begin
# with dL/dy, which is called `dy` here, and multiply your way back.

# %% [exercise neuron]


# %% [answer neuron]
def neuron_forward(x, w, b):
    ### BEGIN SOLUTION
    y = np.tanh(w @ x + b)
    return y, (x, w, y)
    ### END SOLUTION


def neuron_backward(dy, cache):
    ### BEGIN SOLUTION
    x, w, y = cache
    dz = dy * (1 - y**2)
    return dz * w, dz * x, dz
    ### END SOLUTION


# %% [check neuron]

# %% [markdown]
# ## Many neurons, many rows
#
# F neurons share one input of D numbers: their weights are the rows of a matrix W of shape (F, D).
# A batch of N inputs is a matrix X of shape (N, D). One product of matrices computes all of it.

# %% [exercise linear-forward]


# %% [answer linear-forward]
class Linear(tnn.Module):
    def __init__(self, in_features, out_features):
        ### BEGIN SOLUTION
        rng = np.random.default_rng(0)
        scale = np.sqrt(2 / in_features)
        self.weight = tnn.Parameter(rng.normal(size=(out_features, in_features)) * scale)
        self.bias = tnn.Parameter(np.zeros(out_features))
        ### END SOLUTION

    def __call__(self, X):
        ### BEGIN SOLUTION
        self._saved = X
        return X @ self.weight.data.T + self.bias.data
        ### END SOLUTION


# %% [check linear-forward]

# %% [markdown]
# ## Its gradient
#
# `backpropagate(delta)` is given the derivative of the loss with respect to the output. It adds the
# derivatives with respect to the parameters to their `grad`, and returns the one with respect to
# the input, which is `delta` for the module in front.

# %% [exercise linear-backward]


# %% [answer linear-backward]
class Linear(Linear):
    def __call__(self, X):
        self._saved = X
        return super().__call__(X)

    def backpropagate(self, delta):
        ### BEGIN SOLUTION
        X = self._saved
        self.weight.grad += delta.T @ X
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight.data
        ### END SOLUTION


# %% [check linear-backward]

# %% [markdown]
# What you have is a module of the library's own kind: it can go into a `ModuleList`, and be
# trained.
