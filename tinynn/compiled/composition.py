"""Branches: loops that add arrays and join them, beside the kernels of the modules."""

from __future__ import annotations

from tinynn.compiled.jit import Rows, loops

__all__: list[str] = []  # nothing here is for users


@loops
def add(A: Rows, B: Rows, total: Rows) -> None:
    """Compute ``total = A + B``, which may be one of the two."""
    a, b, t = A.reshape(A.size), B.reshape(A.size), total.reshape(A.size)
    for i in range(t.size):
        t[i] = a[i] + b[i]


@loops
def copy(A: Rows, B: Rows) -> None:
    """Compute ``B = A``."""
    a, b = A.reshape(A.size), B.reshape(A.size)
    for i in range(a.size):
        b[i] = a[i]


@loops
def turn(X: Rows, Y: Rows, C: int, H: int, W: int) -> None:
    """Lay images (N, C, H, W) out as (H, C, W, N)."""
    N = X.shape[0]
    x, y = X.reshape((N, C, H, W)), Y.reshape((H, C, W, N))
    for h in range(H):
        for c in range(C):
            for w in range(W):
                for n in range(N):
                    y[h, c, w, n] = x[n, c, h, w]


@loops
def turn_back(X: Rows, Y: Rows, C: int, H: int, W: int) -> None:
    """Lay images (H, C, W, N) out as (N, C, H, W)."""
    N = X.shape[0]
    x, y = X.reshape((H, C, W, N)), Y.reshape((N, C, H, W))
    for h in range(H):
        for c in range(C):
            for n in range(N):
                for w in range(W):
                    y[n, c, h, w] = x[h, c, w, n]


@loops
def join(part: Rows, Y: Rows, start: int, width: int) -> None:
    """Write a part into the columns of Y from `start` on; the rows of Y are `width` long."""
    rows = Y.size // width
    own = part.size // rows
    y, p = Y.reshape((rows, width)), part.reshape((rows, own))
    for i in range(rows):
        for j in range(own):
            y[i, start + j] = p[i, j]


@loops
def take(delta: Rows, part: Rows, start: int, width: int) -> None:
    """Read a part out of the columns of delta from `start` on: the backward pass of `join`."""
    rows = delta.size // width
    own = part.size // rows
    d, p = delta.reshape((rows, width)), part.reshape((rows, own))
    for i in range(rows):
        for j in range(own):
            p[i, j] = d[i, start + j]
