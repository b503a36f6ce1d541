"""tinynn: a modular neural-network framework on NumPy, without autograd.

Every module owns its forward pass, ``module(X)``, and under it its hand-written gradient,
``module.backpropagate(delta)``; a `ModuleList` chains them. Data loaders live in `tinynn.data`,
initial weights in `tinynn.initializers`, learning rates that change in `tinynn.schedules`.
"""

from typing import TYPE_CHECKING

__distribution__ = "tinynn-numpy"  # `tinynn` is another project's; `core.identity` reads this

from tinynn import errors, initializers, losses, modules, optimizers, schedules
from tinynn._version import __version__
from tinynn.core.threads import set_threads
from tinynn.errors import *
from tinynn.losses import *
from tinynn.modules import *
from tinynn.optimizers import *
from tinynn.parameter import Parameter
from tinynn.random import manual_seed

# A network and what it is made of are loaded at once. The rest is loaded when it is first asked
# for, as it brings more of Python's library along: together they would take twice as long.
if TYPE_CHECKING:
    from tinynn import (
        compiled,
        course,
        data,
        distributed,
        estimators,
        live,
        metrics,
        plot,
        training,
    )
    from tinynn.compiled.step import *
    from tinynn.files.c_source import *
    from tinynn.files.python_source import *
    from tinynn.generation import *
    from tinynn.inspection.diagnostics import *
    from tinynn.inspection.gradcheck import *
    from tinynn.inspection.graph import *
    from tinynn.inspection.preflight import *
    from tinynn.inspection.tracing import *
    from tinynn.live import *
    from tinynn.saved import *
    from tinynn.saved.onnx import *
    from tinynn.saved.pipelines import *
    from tinynn.training import *
    from tinynn.vision import *

# Where each of these names comes from: the one list of them. A file or folder of its own stands
# for itself.
_LATER = {
    "CSVLogger": "training",
    "Callback": "training",
    "CompiledModel": "compiled.step",
    "CompiledStep": "compiled.step",
    "Diagnosis": "inspection.diagnostics",
    "Diagnostics": "inspection.diagnostics",
    "EarlyStopping": "training",
    "Experiment": "live",
    "GradientEntry": "inspection.gradcheck",
    "GradientReport": "inspection.gradcheck",
    "Graph": "inspection.graph",
    "History": "training",
    "MLflowLogger": "training",
    "ModelCheckpoint": "training",
    "Predictor": "saved",
    "PreflightReport": "inspection.preflight",
    "RateSearch": "training",
    "ReduceLROnPlateau": "training",
    "TensorBoardLogger": "training",
    "TimeBudget": "training",
    "Trace": "inspection.tracing",
    "TracedModule": "inspection.tracing",
    "TrainingState": "training",
    "Verdict": "inspection.diagnostics",
    "check_gradients": "inspection.gradcheck",
    "compile": "compiled.step",
    "compiled": "compiled",
    "course": "course",
    "data": "data",
    "diagnose": "inspection.diagnostics",
    "distributed": "distributed",
    "estimators": "estimators",
    "evaluate": "training",
    "export_c": "files.c_source",
    "export_onnx": "saved.onnx",
    "export_python": "files.python_source",
    "fit": "training",
    "generate": "generation",
    "graph": "inspection.graph",
    "live": "live",
    "load": "saved",
    "lr_finder": "training",
    "metrics": "metrics",
    "patches": "vision",
    "plot": "plot",
    "preflight": "inspection.preflight",
    "register_onnx_converters": "saved.pipelines",
    "save": "saved",
    "trace": "inspection.tracing",
    "training": "training",
    "watch": "live",
}

__all__ = [
    "Parameter",
    "__version__",
    "errors",
    "initializers",
    "losses",
    "manual_seed",
    "modules",
    "optimizers",
    "schedules",
    "set_threads",
]
__all__ += _LATER
__all__ += errors.__all__
__all__ += losses.__all__
__all__ += modules.__all__
__all__ += optimizers.__all__


if not TYPE_CHECKING:  # which would then believe any name

    def __getattr__(name):
        from importlib import import_module

        if name not in _LATER:
            raise _missing(name)
        home = _LATER[name]
        module = import_module(f"tinynn.{home}")
        value = globals()[name] = module if name == home else getattr(module, name)
        return value


def _missing(name: str) -> Exception:
    """Return the error for a name that is not here, with the one that was meant."""
    import sys
    from importlib.util import find_spec

    from tinynn.core.guesses import NAMES, answer

    hint = "" if name.startswith("_") else answer(name, NAMES, __all__)
    # `from tinynn import X` asks here first, and says nothing of why it failed if this raises an
    # AttributeError: it then looks for a file X.
    importing = sys._getframe(2).f_code.co_name == "_handle_fromlist"
    if importing and hint and find_spec(f"tinynn.{name}") is None:
        return ImportError(f"cannot import name {name!r} from 'tinynn'{hint}", name="tinynn")
    return AttributeError(f"module 'tinynn' has no attribute {name!r}{hint}", name=name)


def __dir__() -> list[str]:
    return sorted(__all__)
