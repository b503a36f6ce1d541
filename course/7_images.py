# title: Dropout, convolution and pooling

# %% [markdown]
# # 7. Dropout, convolution and pooling
#
# From here on the exercises ask for pairs of plain functions: `forward` returns `(out, cache)`, and
# `backward` takes `(dout, cache)`.

# %%
import numpy as np

from tinynn import course

# %% [exercise dropout]


# %% [answer dropout]
def dropout_forward(X, p, rng):
    ### BEGIN SOLUTION
    mask = (rng.random(X.shape) >= p) / (1 - p)
    return X * mask, mask
    ### END SOLUTION


def dropout_backward(dY, cache):
    ### BEGIN SOLUTION
    return dY * cache
    ### END SOLUTION


# %% [check dropout]

# %% [exercise convolution]


# %% [answer convolution]
def conv_forward(X, W, b):
    ### BEGIN SOLUTION
    N, _, H, width = X.shape
    F, _, K, _ = W.shape
    places = [(i, j) for i in range(H - K + 1) for j in range(width - K + 1)]
    columns = [np.einsum("ncij,fcij->nf", X[:, :, i : i + K, j : j + K], W) for i, j in places]
    Y = np.stack(columns, axis=2).reshape(N, F, H - K + 1, width - K + 1)
    return Y + b[:, None, None], (X, W)
    ### END SOLUTION


def conv_backward(dY, cache):
    ### BEGIN SOLUTION
    X, W = cache
    K = W.shape[2]
    dX, dW = np.zeros_like(X), np.zeros_like(W)
    for i in range(dY.shape[2]):
        for j in range(dY.shape[3]):
            window, d = X[:, :, i : i + K, j : j + K], dY[:, :, i, j]
            dX[:, :, i : i + K, j : j + K] += np.einsum("nf,fcij->ncij", d, W)
            dW += np.einsum("nf,ncij->fcij", d, window)
    return dX, dW, dY.sum(axis=(0, 2, 3))
    ### END SOLUTION


# %% [check convolution]

# %% [exercise pooling]


# %% [answer pooling]
def pool_forward(X):
    ### BEGIN SOLUTION
    N, C, H, W = X.shape
    squares = X.reshape(N, C, H // 2, 2, W // 2, 2)
    Y = squares.max(axis=(3, 5))
    return Y, squares == Y[:, :, :, None, :, None]
    ### END SOLUTION


def pool_backward(dY, cache):
    ### BEGIN SOLUTION
    N, C, H, _, W, _ = cache.shape
    return (cache * dY[:, :, :, None, :, None]).reshape(N, C, 2 * H, 2 * W)
    ### END SOLUTION


# %% [check pooling]
