"""tinynn: a modular neural-network framework on NumPy, without autograd.

Every module owns its forward pass, ``module(X)``, and under it its hand-written gradient,
``module.backpropagate(delta)``; a `ModuleList` chains them. Data loaders live in `tinynn.data`,
initial weights in `tinynn.initializers`, learning rates that change in `tinynn.schedules`.
"""

from typing import TYPE_CHECKING

from tinynn import errors, initializers, losses, modules, optimizers, schedules
from tinynn._version import __version__
from tinynn.errors import *
from tinynn.losses import *
from tinynn.modules import *
from tinynn.optimizers import *
from tinynn.parameter import Parameter
from tinynn.random import manual_seed
from tinynn.threads import set_threads

# What a network is made of is loaded at once. What one does with it is loaded when it is first
# asked for, as it brings more of Python's library along: together they would take twice as long.
if TYPE_CHECKING:
    from tinynn import data, distributed, metrics
    from tinynn.diagnostics import Diagnosis, Diagnostics, Verdict, diagnose
    from tinynn.gradcheck import GradientReport, check_gradients
    from tinynn.onnx_export import export_onnx
    from tinynn.preflight_checks import PreflightReport, preflight
    from tinynn.saving import load, save
    from tinynn.tracing import Trace, TracedModule, trace
    from tinynn.training import (
        EarlyStopping,
        History,
        ReduceLROnPlateau,
        TrainingState,
        evaluate,
        fit,
    )
else:
    _LATER = {
        "data": [],
        "distributed": [],
        "metrics": [],
        "diagnostics": ["Diagnosis", "Diagnostics", "Verdict", "diagnose"],
        "gradcheck": ["GradientReport", "check_gradients"],
        "onnx_export": ["export_onnx"],
        "preflight_checks": ["PreflightReport", "preflight"],
        "saving": ["load", "save"],
        "tracing": ["Trace", "TracedModule", "trace"],
        "training": [
            "EarlyStopping",
            "History",
            "ReduceLROnPlateau",
            "TrainingState",
            "evaluate",
            "fit",
        ],
    }

    def __getattr__(name):
        from importlib import import_module

        for file, names in _LATER.items():
            if name == file or name in names:
                module = import_module(f"tinynn.{file}")
                value = globals()[name] = module if name == file else getattr(module, name)
                return value
        raise AttributeError(f"module 'tinynn' has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "Diagnosis",
    "Diagnostics",
    "EarlyStopping",
    "GradientReport",
    "History",
    "Parameter",
    "PreflightReport",
    "ReduceLROnPlateau",
    "Trace",
    "TracedModule",
    "TrainingState",
    "Verdict",
    "__version__",
    "check_gradients",
    "data",
    "diagnose",
    "distributed",
    "evaluate",
    "export_onnx",
    "fit",
    "initializers",
    "load",
    "manual_seed",
    "metrics",
    "preflight",
    "save",
    "schedules",
    "set_threads",
    "trace",
]
__all__ += errors.__all__
__all__ += losses.__all__
__all__ += modules.__all__
__all__ += optimizers.__all__
