"""Every public module, loss and optimizer has a kernel, or a reason why not; compiles nothing."""

import compiled_passes
import pytest
from cases import CASES
from compiled_passes import LOSSES_WITHOUT, MODULES_WITHOUT, OPTIMIZERS_WITHOUT
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tinynn as tnn
from tinynn.compiled import losses, optimizers
from tinynn.compiled.network import not_compilable
from tinynn.errors import OptionError


def check(lacking, reasons, table, where):
    """Demand a reason for all that has no kernel, and none for what has one."""
    silent = sorted(lacking - set(reasons))
    assert not silent, (
        f"{', '.join(silent)}: add a kernel to {where}, or to {table} of "
        f"{compiled_passes.__file__} the reason why there is none"
    )
    idle = sorted(set(reasons) - lacking)
    assert not idle, (
        f"{', '.join(idle)}: take it out of {table} of {compiled_passes.__file__}, as it has a "
        "kernel or is not public"
    )


def public(names, base):
    """List the classes of a file but for their base class."""
    found = {name: getattr(tnn, name) for name in names}
    return {n: cls for n, cls in found.items() if isinstance(cls, type) and cls is not base}


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@settings(max_examples=1, phases=[Phase.generate])
@given(data=st.data())
def test_every_module_has_a_kernel_or_a_reason(cls, data):
    name, module = cls.__name__, data.draw(CASES[cls][0].examples()).rebuild()
    where = "the file of tinynn/compiled that is named as the module's, with a line in table.py"
    lacking = {name} if any(not_compilable(module)) else set()
    reasons = {n: reason for n, reason in MODULES_WITHOUT.items() if n == name}
    check(lacking, reasons, "MODULES_WITHOUT", where)


def test_every_loss_has_a_kernel_or_a_reason():
    lacking = {
        name
        for name, cls in public(tnn.losses.__all__, tnn.Loss).items()
        if cls not in losses.KERNELS
    }
    check(lacking, LOSSES_WITHOUT, "LOSSES_WITHOUT", "tinynn/compiled/losses.py")


def test_every_optimizer_has_a_kernel_or_a_reason():
    lacking = {
        name
        for name, cls in public(tnn.optimizers.__all__, tnn.Optimizer).items()
        if cls not in optimizers.KERNELS
    }
    check(lacking, OPTIMIZERS_WITHOUT, "OPTIMIZERS_WITHOUT", "tinynn/compiled/optimizers.py")


@pytest.mark.parametrize("name", LOSSES_WITHOUT)
def test_a_loss_without_a_kernel_is_refused_by_name(name):
    pytest.importorskip("numba")
    model = tnn.ModuleList([tnn.Linear(2, 2)])
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    loss_fn = tnn.QuantileLoss([0.1, 0.9]) if name == "QuantileLoss" else getattr(tnn, name)()
    with pytest.raises(OptionError, match=name):
        tnn.compile(model, loss_fn, optimizer, progress=False)
