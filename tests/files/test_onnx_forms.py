"""Every public module has an ONNX form, or a reason not to; this needs no ONNX."""

import subprocess
import sys

from tinynn import modules
from tinynn.files.onnx import FORMS
from tinynn.modules import Module

# What ONNX cannot express, and why.
CANNOT = {}


def test_every_public_module_has_a_form_or_a_reason():
    lacking = []
    for name in modules.__all__:
        cls = getattr(modules, name)
        has_form = any(base in FORMS and cls.__call__ is base.__call__ for base in cls.__mro__)
        if cls is not Module and has_form == (cls in CANNOT):
            lacking.append(name)
    assert not lacking, (
        f"{', '.join(lacking)}: add a function and an entry in FORMS of tinynn/files/onnx.py, or "
        f"a reason why ONNX cannot express it in CANNOT of {__file__}"
    )


WITHOUT = """
import sys
sys.modules["onnx"] = None
import tinynn as tnn
try:
    tnn.export_onnx(tnn.ReLU(), sys.argv[1], (3,))
except ImportError as error:
    print(error)
"""


def test_without_onnx_the_error_is_one_line(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, tmp_path / "model"], capture_output=True, text=True
    )
    assert run.stdout == "export_onnx needs onnx: pip install 'tinynn-numpy[onnx]'\n"
    assert not list(tmp_path.iterdir())
