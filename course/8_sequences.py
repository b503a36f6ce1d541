# title: Sequences: embedding, recurrence, attention

# %% [markdown]
# # 8. Sequences: embedding, recurrence, attention
#
# Text is a sequence of integers. A table turns them into vectors; a recurrent network reads them
# one by one; attention lets each look at all others.

# %%
import numpy as np

from tinynn import course

# %% [exercise embedding]


# %% [answer embedding]
def embedding_forward(W, indices):
    ### BEGIN SOLUTION
    return W[indices], (W, indices)
    ### END SOLUTION


def embedding_backward(dY, cache):
    ### BEGIN SOLUTION
    W, indices = cache
    dW = np.zeros_like(W)
    np.add.at(dW, indices, dY)
    return dW
    ### END SOLUTION


# %% [check embedding]

# %% [exercise rnn]


# %% [answer rnn]
def rnn_forward(X, U, V, b):
    ### BEGIN SOLUTION
    h, states = np.zeros((len(X), len(V))), []
    for t in range(X.shape[1]):
        h = np.tanh(X[:, t] @ U + h @ V + b)
        states.append(h)
    Y = np.stack(states, axis=1)
    return Y, (X, U, V, Y)
    ### END SOLUTION


def rnn_backward(dY, cache):
    ### BEGIN SOLUTION
    X, U, V, Y = cache
    dX, dU, dV = np.zeros_like(X), np.zeros_like(U), np.zeros_like(V)
    db, later = np.zeros(len(V)), 0
    for t in reversed(range(X.shape[1])):
        dz = (dY[:, t] + later) * (1 - Y[:, t] ** 2)
        before = Y[:, t - 1] if t else np.zeros_like(Y[:, 0])
        dX[:, t] = dz @ U.T
        dU += X[:, t].T @ dz
        dV += before.T @ dz
        db += dz.sum(axis=0)
        later = dz @ V.T
    return dX, dU, dV, db
    ### END SOLUTION


# %% [check rnn]

# %% [exercise attention]


# %% [answer attention]
def attention_forward(Q, K, V):
    ### BEGIN SOLUTION
    S = Q @ K.T / np.sqrt(Q.shape[1])
    E = np.exp(S - S.max(axis=1, keepdims=True))
    A = E / E.sum(axis=1, keepdims=True)
    return A @ V, (Q, K, V, A)
    ### END SOLUTION


def attention_backward(dY, cache):
    ### BEGIN SOLUTION
    Q, K, V, A = cache
    dA = dY @ V.T
    dS = A * (dA - (dA * A).sum(axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    return dS @ K, dS.T @ Q, A.T @ dY
    ### END SOLUTION


# %% [check attention]
