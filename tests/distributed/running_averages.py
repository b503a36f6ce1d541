"""Batch normalization over the rows of several processes, and over their own.

As a program, on each process: prove the derivatives of the synchronized one by a complex step that
goes through all processes, and train with the other one.
"""

import numpy as np

import tinynn as tnn
from tinynn.core import processes
from tinynn.data import DataLoader

H = 1e-30


def prove(shape):
    """Compare all derivatives of ``Σ T·Y`` over all rows with a complex step."""
    group = processes.current
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=shape), rng.normal(size=shape)
    rows = group.share(len(X))
    module = tnn.BatchNorm(shape[1], dtype=np.float64)
    module.weight.data = rng.normal(size=shape[1])

    def loss(X):
        return complex(group.sum(np.array([(module(X[rows]) * T[rows]).sum()], complex))[0])

    module(X[rows])
    mine = module.backpropagate(T[rows])
    gradients = {"input": np.concatenate(group.gather(mine))}
    gradients["weight"], gradients["bias"] = (
        group.sum(module.weight.grad),
        group.sum(module.bias.grad),
    )

    worst, n = 0.0, 0
    for index in np.ndindex(*shape):
        stepped = X.astype(complex)
        stepped[index] += 1j * H
        worst = max(worst, abs(loss(stepped).imag / H - gradients["input"][index]))
        n += 1
    for name in ("weight", "bias"):
        parameter = getattr(module, name)
        for c in range(shape[1]):
            stepped = parameter.data.astype(complex)
            stepped[c] += 1j * H
            with parameter.substituted(stepped):
                worst = max(worst, abs(loss(X + 0j).imag / H - gradients[name][c]))
            n += 1
    assert worst < 1e-12, f"{shape}: a derivative is wrong by {worst}"

    # And what one process gets, which has all the rows.
    with processes.alone():
        whole = tnn.BatchNorm(shape[1], dtype=np.float64)
        whole.weight.data = module.weight.data
        Y, dX = whole(X), whole.backpropagate(T)
    again = tnn.BatchNorm(shape[1], dtype=np.float64)
    again.weight.data = module.weight.data
    np.testing.assert_allclose(again(X[rows]), Y[rows], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mine, dX[rows], rtol=1e-12, atol=1e-12)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        np.testing.assert_allclose(getattr(again, name), getattr(whole, name), rtol=1e-12)
    print(f"{n} derivatives of shape {shape} agree")


def train_with_own_statistics():
    """One step: each share by its own mean, and running averages the mean of both."""
    tnn.distributed.init(sync_batch_norm=False)
    X = np.random.default_rng(1).normal(size=(9, 4))
    module = tnn.BatchNorm(4, dtype=np.float64)
    optimizer = tnn.SGD(module.parameters(), 0.1)
    train = tnn.distributed.shard(DataLoader(X, X, batch_size=9))
    tnn.fit(module, tnn.MSELoss(), optimizer, train, epochs=1, progress=False)
    shares = np.split(X, [4])
    means = np.mean([share.mean(axis=0) for share in shares], axis=0)
    variances = np.mean([share.var(axis=0, ddof=1) for share in shares], axis=0)
    np.testing.assert_allclose(module.running_mean, 0.1 * means, rtol=1e-12)
    np.testing.assert_allclose(module.running_var, 0.9 + 0.1 * variances, rtol=1e-12)
    standard = np.concatenate([(s - s.mean(0)) / np.sqrt(s.var(0) + module.eps) for s in shares])
    gradient = (2 / X.size * (standard - X) * standard).sum(axis=0)
    np.testing.assert_allclose(module.weight.data, 1 - 0.1 * gradient, rtol=1e-12)
    print("own statistics agree")


if __name__ == "__main__":
    tnn.distributed.init()
    prove((7, 3))
    prove((3, 2, 2, 2))  # with four processes, one has no row
    if tnn.distributed.size() == 2:
        train_with_own_statistics()
