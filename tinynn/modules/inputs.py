"""The checks of a module's input, and the errors for what does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import as_array
from tinynn.core.types import Array
from tinynn.errors import DataError, ShapeError, StateError
from tinynn.modules.shapes import UNKNOWN, Shape, batch_text, channels_of, is_known, sample_text

__all__ = ["Inputs"]


class Inputs:
    """The part of `Module` that is about which inputs fit."""

    if TYPE_CHECKING:

        @property
        def dtype(self) -> np.dtype[Any]:
            """Return the dtype to which integers are cast."""

        def output_shape(self, input_shape: Shape) -> Shape:
            """Return the shape of one sample's output."""

        def named_modules(self) -> Iterator[tuple[str, Any]]:
            """Yield this module and all inside it."""

        def _awaits_size(self) -> bool: ...

        def _twin(self) -> Inputs: ...

    def _input_shape(self) -> Shape:
        """Return the shape of one input sample, as far as the options tell it."""
        return UNKNOWN

    def _infer(self, input_shape: Shape) -> None:
        """Fill in sizes that were left open, now that the input's shape is known."""

    def _as_input(self, X: ArrayLike, name: str = "X") -> Array:
        """Return any array-like input as floating-point (or complex) numbers."""
        array = as_array(f"{type(self).__name__}: {name}", X)
        if array.ndim == 0 and name == "X":
            raise ShapeError(
                f"{self!r} takes a batch of shape (N, ...), but its input is a single number; fix: "
                "a batch of one number is numpy.array([[x]])"
            )
        if array.dtype.kind in "fc":
            return array
        if array.dtype.kind in "biu":
            if name == "X" and any(module._takes_indices for _, module in self.named_modules()):
                return array  # for a module inside, which checks them
            return array.astype(self.dtype)
        raise DataError(
            f"{self!r} takes numbers, but its {'input' if name == 'X' else name} has dtype "
            f"{array.dtype}; fix: convert it, for instance with .astype(numpy.float32)"
        )

    def _refuse(self, takes: str, comes: str, input_shape: Shape, mend: str = "") -> ShapeError:
        """Return the error for an input that this module cannot take."""
        error = ShapeError(
            f"{self!r} takes {takes}, but its input has {comes}, in shape {batch_text(input_shape)}"
            + mend
        )
        error.takes, error.comes, error.mend = takes, comes, mend
        return error

    def _check_features(self, features: int | None, input_shape: Shape) -> None:
        """Raise a ShapeError unless the last axis is, as far as known, so many features."""
        if features is None:
            return
        # Behind a convolution, the width of an image is not known yet, and a Flatten was forgotten.
        image = len(input_shape) == 3 and input_shape[-1] is None and ... not in input_shape
        if input_shape and input_shape[-1] in (features, None, ...) and not image:
            return
        numbers = math.prod(input_shape) if is_known(input_shape) else None  # type: ignore[arg-type]
        comes, mend = f"samples of shape {sample_text(input_shape)}", ""
        if image or (input_shape and numbers == features):
            mend = "; fix: put a Flatten() before it"
        elif input_shape:
            comes = f"{input_shape[-1]}"
        raise self._refuse(f"{features} features", comes, input_shape, mend)

    def _check_channels(self, channels: int, input_shape: Shape, what: str = "channels") -> None:
        """Raise a ShapeError unless the first axis of samples has, as far as known, this length."""
        if not input_shape:
            raise self._refuse(f"{channels} {what}", "samples of shape ()", input_shape)
        if channels_of(input_shape) not in (channels, None):
            raise self._refuse(f"{channels} {what}", f"{channels_of(input_shape)}", input_shape)

    def _check_input(self, X: Array) -> None:
        """Raise the error for a batch that does not fit, and fill in sizes that were left open."""
        if X.ndim == 1:
            raise ShapeError(
                f"{self!r} takes a batch of shape {batch_text(self._input_shape())}, but its input "
                f"has shape {X.shape}; fix: a single sample is a batch of one as X[numpy.newaxis]"
            )
        self.output_shape(X.shape[1:])
        if self._awaits_size():
            self._learn_size(X.shape[1:])
        if self._input_shape() == UNKNOWN:
            raise StateError(
                f"{self!r} does not know the size of its input yet, and cannot tell it from an "
                f"input of shape {X.shape}; fix: give the size, or put a Flatten() before it"
            )

    def _learn_size(self, input_shape: Shape) -> None:
        """Fill in sizes left open; a twin asks its original to, which keeps them."""
        original: Inputs | None = vars(self).get("_original")
        if original is None:
            self._infer(input_shape)
        else:
            original._learn_size(input_shape)
            vars(self).update(vars(original._twin()), _original=original)
