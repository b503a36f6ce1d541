"""The peers, one file each: all compute the same, in the way of their own documentation."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

from benchmarks.peers.base import Peer

__all__ = ["PEERS", "Entry", "Peer", "load", "missing"]


class Entry(NamedTuple):
    """The place of a peer, which is imported only when needed."""

    title: str
    where: str
    needs: tuple[str, ...]


PEERS = {
    "floor": Entry("floor", "floor:Floor", ()),
    "tinynn": Entry("tinynn", "tinynn_peer:TinyNN", ()),
    "tinynn-compiled": Entry("tinynn, compiled", "tinynn_peer:Compiled", ("numba",)),
    "tinynn-loop": Entry("tinynn, open loop", "tinynn_peer:OpenLoop", ()),
    "numpy": Entry("tutorial NumPy", "tutorial:Tutorial", ()),
    "pytorch": Entry("PyTorch", "pytorch:PyTorch", ("torch",)),
    "torch-compile": Entry("torch.compile", "pytorch:Compiled", ("torch",)),
    "jax": Entry("JAX, jit", "jax_peer:Jax", ("jax",)),
    "keras": Entry("Keras on JAX", "keras_peer:Keras", ("keras", "jax")),
    "scikit-learn": Entry("scikit-learn MLP", "sklearn_peer:ScikitLearn", ("sklearn",)),
    "thinc": Entry("Thinc", "thinc_peer:Thinc", ("thinc",)),
    "onnxruntime": Entry("ONNX Runtime", "onnx_peer:OnnxRuntime", ("onnxruntime", "onnx")),
}


def missing(name: str) -> list[str]:
    """Return the packages that a peer needs but that are not installed."""
    return [package for package in PEERS[name].needs if not importlib.util.find_spec(package)]


def load(name: str) -> type[Peer]:
    """Import a peer and its library.

    A name "module:Class" that is not listed in `PEERS` is a peer of your own.
    """
    where = f"benchmarks.peers.{PEERS[name].where}" if name in PEERS else name
    module, _, kind = where.partition(":")
    return getattr(importlib.import_module(module), kind)
