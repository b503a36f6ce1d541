"""Images as sequences: cut into patches, each of which becomes a vector of a sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_integer
from tinynn.initializers import Initializer
from tinynn.modules import Conv2d, ModuleList, Reshape, Transpose
from tinynn.random import RNG

__all__ = ["patches"]


def patches(
    in_channels: int,
    embed_dim: int,
    patch_size: int,
    *,
    bias: bool = True,
    init: str | Initializer = "kaiming_normal",
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> ModuleList:
    """Return modules that turn images into sequences of patches, as in a vision transformer.

    An image (C, H, W) is cut into squares of p × p pixels, and the same linear map turns each into
    a vector: ``(N, C, H, W)`` becomes ``(N, T, D)`` with ``T = (H // p) (W // p)``. That map is a
    convolution with kernel and stride p; a `Reshape` and a `Transpose` bring its output into the
    form of a sequence, row by row. Pixels that fill no whole patch, on the right and at the bottom,
    are left out.

    Parameters
    ----------
    in_channels : int
        C, the channels of the images.
    embed_dim : int
        D, the numbers of a patch's vector.
    patch_size : int
        p, the side of a patch in pixels.
    bias : bool, default True
        Whether the map has a bias.
    init : str or callable, default "kaiming_normal"
        How the weights start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What the weights are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Returns
    -------
    ModuleList
        A `Conv2d`, a `Reshape` and a `Transpose`.

    Raises
    ------
    OptionError
        If a size is not a positive integer, or another option is invalid.

    References
    ----------
    Dosovitskiy et al.: An image is worth 16x16 words, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList(
    ...     [
    ...         tnn.patches(1, 32, 7),
    ...         tnn.PositionalEncoding(32, 16, learned=True),
    ...         tnn.TransformerBlock(32, 4),
    ...     ]
    ... )
    >>> model(np.zeros((5, 1, 28, 28))).shape  # 4 · 4 patches
    (5, 16, 32)
    """
    check_integer("patches", "in_channels", in_channels, minimum=1)
    check_integer("patches", "embed_dim", embed_dim, minimum=1)
    check_integer("patches", "patch_size", patch_size, minimum=1)
    cut = Conv2d(
        in_channels,
        embed_dim,
        patch_size,
        stride=patch_size,
        bias=bias,
        init=init,
        rng=rng,
        dtype=dtype,
    )
    return ModuleList([cut, Reshape((embed_dim, -1)), Transpose()])
