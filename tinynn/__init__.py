"""tinynn: a modular neural-network framework on NumPy, without autograd.

Every module owns its forward pass, ``module(X)``, and under it its hand-written gradient,
``module.backpropagate(delta)``; a `ModuleList` chains them. Data loaders live in `tinynn.data`,
initial weights in `tinynn.initializers`, learning rates that change in `tinynn.schedules`.
"""

from tinynn import (
    data,
    distributed,
    errors,
    initializers,
    losses,
    metrics,
    modules,
    optimizers,
    schedules,
)
from tinynn._version import __version__
from tinynn.diagnostics import Diagnosis, Diagnostics, Verdict, diagnose
from tinynn.errors import *
from tinynn.gradcheck import GradientReport, check_gradients
from tinynn.losses import *
from tinynn.modules import *
from tinynn.onnx_export import export_onnx
from tinynn.optimizers import *
from tinynn.parameter import Parameter
from tinynn.preflight_checks import PreflightReport, preflight
from tinynn.random import manual_seed
from tinynn.saving import load, save
from tinynn.threads import set_threads
from tinynn.tracing import Trace, TracedModule, trace
from tinynn.training import (
    EarlyStopping,
    History,
    ReduceLROnPlateau,
    TrainingState,
    evaluate,
    fit,
)

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
