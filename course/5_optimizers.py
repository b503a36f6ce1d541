# title: Optimizers

# %% [markdown]
# # 5. Optimizers
#
# The gradient says which way is up. How far to go, and what to remember of earlier steps, is the
# optimizer's to decide.

# %%
import numpy as np

from tinynn import course

# %% [exercise sgd]


# %% [answer sgd]
def sgd(w, grad, lr):
    ### BEGIN SOLUTION
    return w - lr * grad
    ### END SOLUTION


# %% [check sgd]

# %% [markdown]
# A ball that rolls keeps its speed: in a narrow valley, the steps across cancel out, and those
# along it add up.

# %% [exercise momentum]


# %% [answer momentum]
def momentum(w, grad, velocity, lr, beta):
    ### BEGIN SOLUTION
    velocity = beta * velocity + grad
    return w - lr * velocity, velocity
    ### END SOLUTION


# %% [check momentum]

# %% [exercise adam]


# %% [answer adam]
def adam(w, grad, m, v, t, lr, beta1, beta2, eps):
    ### BEGIN SOLUTION
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
    ### END SOLUTION


# %% [check adam]
