"""What every module has from its base class, users' own modules above all."""

import contextlib
import copy
import inspect
import os
import pickle
import re
import sys
import threading
import warnings
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

import tinynn as tnn
from tinynn import BatchNorm, Linear, Module, ModuleList, Parameter, ReLU, Tanh
from tinynn.errors import (
    CheckpointError,
    DataError,
    GradientError,
    OptionError,
    ShapeError,
    StateError,
)
from tinynn.modules import evaluation


class Scale(Module):
    """A user's module: a parameter of its own, `+=` on its gradient, and a buffer."""

    def __init__(self, n):
        self.n = n
        self.factor = Parameter(np.arange(1.0, n + 1))
        self.offset = np.zeros(n)
        self._scratch = np.zeros(n)

    def __call__(self, X):
        self._saved = X
        return X * self.factor.data + self.offset

    def backpropagate(self, delta):
        X = self._saved
        self.factor.grad += (delta * X).sum(axis=0)
        return delta * self.factor.data


class Mixture(Module):
    """A user's module with lists of modules and of parameters."""

    def __init__(self, n, n_heads=2):
        self.heads = [Linear(n, 1, dtype=np.float64) for _ in range(n_heads)]
        self.gates = [Parameter(np.full(1, 0.5 + i)) for i in range(n_heads)]
        self.body = ModuleList([Linear(n, n, dtype=np.float64), Tanh()])
        self.tied = self.body[0].weight

    def __call__(self, X):
        H = self.body(X)
        outputs = [head(H) for head in self.heads]
        self._saved = outputs
        return sum(gate.data * Y for gate, Y in zip(self.gates, outputs, strict=True))

    def backpropagate(self, delta):
        into_body = 0
        for gate, head, Y in zip(self.gates, self.heads, self._saved, strict=True):
            gate.grad += (delta * Y).sum(axis=0)
            into_body = into_body + head.backpropagate(delta * gate.data)
        return self.body.backpropagate(into_body)


# ---- what is found inside ------------------------------------------------------------------------


def test_parameters_are_found_by_walking_the_attributes():
    model = Mixture(3)
    assert [name for name, _ in model.named_parameters()] == [
        *("gates.0", "gates.1", "tied"),
        *("heads.0.weight", "heads.0.bias", "heads.1.weight", "heads.1.bias", "body.0.bias"),
    ]
    assert len({id(parameter) for parameter in model.parameters()}) == len(model.parameters()) == 8
    assert [name for name, _ in model.named_modules()] == [
        *("", "heads.0", "heads.1", "body", "body.0", "body.1")
    ]


def test_buffers_are_the_arrays_without_underscore():
    assert sorted(Scale(2).state_dict()) == ["factor", "offset"]
    assert sorted(ModuleList([ReLU(), Scale(2)]).state_dict()) == ["1.factor", "1.offset"]
    assert ReLU().state_dict() == {}


def test_what_is_replaced_later_is_found_too():
    model = Mixture(3)
    model.heads.append(Linear(3, 1))
    assert "heads.2.weight" in dict(model.named_parameters())
    model.extra = Scale(1)
    assert "extra.factor" in dict(model.named_parameters())


# ---- users' own modules --------------------------------------------------------------------------


@pytest.mark.parametrize("build", [lambda: Scale(4), lambda: Mixture(4)])
def test_own_modules_are_proved_like_the_librarys(build):
    for training in (True, False):
        report = tnn.check_gradients(build().train(training), (5, 4))
        assert report.method == "complex step"
        assert report.worst < 1e-12
    tnn.check_gradients(ModuleList([build(), Tanh()]), (5, 4))


def test_adding_in_place_starts_anew_after_a_step():
    module, X, delta = Scale(2), np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
    optimizer = tnn.SGD(module.parameters(), lr=0.0)
    module(X)
    module.backpropagate(delta)
    module.backpropagate(delta)
    assert module.factor.grad.tolist() == [6, 20]
    optimizer.step()
    assert module.factor.grad.tolist() == [6, 20]  # still readable
    module.backpropagate(delta)
    assert module.factor.grad.tolist() == [3, 10]
    module.backpropagate(delta)
    assert module.factor.grad.tolist() == [6, 20]
    optimizer.zero_grad()
    module.backpropagate(delta)
    assert module.factor.grad.tolist() == [3, 10]


def test_gradients_in_lists_start_anew_after_a_step():
    model, X = Mixture(3), np.random.default_rng(0).normal(size=(4, 3))
    optimizer = tnn.SGD(model.parameters(), lr=0.0)
    model(X)
    model.backpropagate(np.ones((4, 1)))
    first = [parameter.grad.copy() for parameter in model.parameters()]
    optimizer.step()
    model.backpropagate(np.ones((4, 1)))
    for parameter, grad in zip(model.parameters(), first, strict=True):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-13)


def test_own_modules_may_leave_the_input_gradient_away():
    module = Scale(2)
    module(np.ones((1, 2)))
    assert module.backpropagate(np.ones((1, 2)), input_gradient=False) is None
    assert module.factor.grad.tolist() == [1, 1]


def test_a_forgotten_return_is_named():
    class Forgetful(Module):
        def __call__(self, X):
            self._saved = X

    with pytest.raises(ShapeError, match=r"Forgetful\(\) must return an array .* NoneType"):
        Forgetful()(np.ones((1, 1)))
    with pytest.raises(NotImplementedError, match="Forgetful has no backpropagate"):
        Forgetful().backpropagate(np.ones((1, 1)))
    with pytest.raises(NotImplementedError, match="Module has no __call__"):
        Module()(np.ones((1, 1)))


def test_a_failed_call_leaves_nothing_to_backpropagate():
    module = Linear(2, 1)
    module(np.ones((3, 2)))
    with pytest.raises(ShapeError):
        module(np.ones((3, 5)))
    with pytest.raises(StateError):
        module.backpropagate(np.ones((3, 1)))


def test_inputs_and_deltas_may_be_lists():
    module = Linear(2, 1, dtype=np.float64)
    np.testing.assert_array_equal(module([[1, 2]]), module(np.array([[1.0, 2.0]])))
    assert module.backpropagate([[1.0]]).shape == (1, 2)
    with pytest.raises(DataError, match="takes numbers"):
        module([["a", "b"]])


def test_own_constructors_are_shown():
    assert repr(Scale(3)) == "Scale(3)"
    assert repr(Mixture(3)) == "Mixture()"  # it keeps no attribute of the name n

    class Bare(Module):
        pass

    assert repr(Bare()) == "Bare()"


# ---- saved states --------------------------------------------------------------------------------


def test_a_state_is_a_copy_in_c_order():
    module = Linear(3, 2)
    state = module.state_dict()
    assert state["weight"].flags.c_contiguous
    assert not np.shares_memory(state["weight"], module.weight.data)


def test_a_state_that_does_not_fit_is_refused_as_a_whole():
    model = ModuleList([Linear(3, 2), BatchNorm(2), Linear(2, 1)])
    before = model.state_dict()
    wrong = {name: array + 1 for name, array in before.items()}
    del wrong["0.bias"], wrong["1.running_var"]
    wrong["2.weight"] = np.ones((2, 1))
    wrong["2.bias"] = np.array(["text"])
    wrong["3.weight"] = wrong["extra"] = np.ones(1)
    with pytest.raises(CheckpointError) as caught:
        model.load_state_dict(wrong)
    message = str(caught.value)
    assert "missing: 0.bias, 1.running_var" in message
    assert "unexpected: 3.weight, extra" in message
    assert "2.weight has shape (1, 2), but (2, 1) came" in message
    assert "2.bias holds float32, but <U4 came" in message
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_not_strict_loads_what_is_there():
    module = Linear(3, 2)
    bias = module.bias.data.copy()
    result = module.load_state_dict({"weight": np.ones((2, 3)), "extra": 1}, strict=False)
    assert result == (["bias"], ["extra"])
    assert result.missing_keys == ["bias"]
    assert result.unexpected_keys == ["extra"]
    assert (module.weight.data == 1).all()
    np.testing.assert_array_equal(module.bias.data, bias)
    with pytest.raises(CheckpointError, match="weight has shape"):
        module.load_state_dict({"weight": np.ones((3, 2))}, strict=False)


def test_loading_goes_into_the_optimizers_buffer():
    module = Linear(3, 2)
    optimizer = tnn.SGD(module.parameters(), lr=1.0)
    module.load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(2)})
    module.weight.grad = np.ones((2, 3))
    optimizer.step()
    assert not module.weight.data.any()
    assert (module.bias.data == 1).all()


# ---- modes ---------------------------------------------------------------------------------------


def test_evaluating_restores_a_mixture_of_modes_also_after_an_error():
    model = ModuleList([BatchNorm(2), BatchNorm(2).eval()])
    with pytest.raises(KeyError), model.evaluating():  # noqa: PT012
        assert not model[0].training
        raise KeyError
    assert [model.training, model[0].training, model[1].training] == [True, True, False]
    with model.evaluating(), model.evaluating():
        assert not model[0].training
    assert [model.training, model[0].training, model[1].training] == [True, True, False]


def test_several_threads_may_be_evaluating_at_once():
    model = ModuleList([BatchNorm(2), ModuleList([BatchNorm(2)])])
    inside, may_leave = threading.Barrier(3), [threading.Event(), threading.Event()]
    modes = []

    def evaluate(which):
        with model.evaluating():
            inside.wait(10)
            may_leave[which].wait(10)
            modes.append([m.training for _, m in model.named_modules()])

    threads = [threading.Thread(target=evaluate, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    for i, thread in enumerate(threads):
        assert not model.training
        may_leave[i].set()
        thread.join(10)
    assert modes == [[False] * 4] * 2  # the one that left first took nothing from the other
    assert all(m.training for _, m in model.named_modules())


class Meanwhile(Module):
    """Lets everything pass, and whatever it holds be done at the first call."""

    def __init__(self):
        self.to_do = []

    def __call__(self, X):
        if self.to_do:
            self.to_do.pop()()
        return X.copy()


@pytest.mark.parametrize(
    "part", [lambda model: model, lambda model: model[1], lambda model: model[1:]]
)
def test_evaluations_that_overlap_in_part_leave_each_other_the_mode(part):
    meanwhile, norm = Meanwhile(), BatchNorm(2, dtype=np.float64)
    model = ModuleList([meanwhile, norm])
    X = np.array([[1.0, 2.0], [3.0, 5.0]])
    expected = norm.predict(X)

    with contextlib.ExitStack() as other:  # begins before a prediction, and ends in the midst of it
        other.enter_context(part(model).evaluating())
        meanwhile.to_do.append(other.close)
        np.testing.assert_array_equal(model.predict(X), expected)
    assert [m.training for _, m in model.named_modules()] == [True] * 3

    with contextlib.ExitStack() as other:  # begins in the midst, and ends after it
        meanwhile.to_do.append(lambda: other.enter_context(part(model).evaluating()))
        np.testing.assert_array_equal(model.predict(X), expected)
        np.testing.assert_array_equal(norm(X), expected)
    assert [m.training for _, m in model.named_modules()] == [True] * 3
    assert norm.num_batches_tracked == 0


def test_predictions_that_overlap_leave_nothing_behind():
    meanwhile, linear = Meanwhile(), Linear(2, 1, rng=0)
    model = ModuleList([meanwhile, linear])
    X = np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)
    model(X)
    before = [dict(vars(module)) for _, module in model.named_modules()]
    for part in (model, linear):
        meanwhile.to_do.append(lambda part=part: part.predict(-X[:1]))
        model.predict(2 * X[:1])
        after = [vars(module) for _, module in model.named_modules()]
        assert [list(names) for names in after] == [list(names) for names in before]
        for now, then in zip(after, before, strict=True):
            assert all(now[name] is then[name] for name in then)
    linear.backpropagate(np.ones((2, 1), np.float32))
    np.testing.assert_array_equal(linear.weight.grad, X.sum(axis=0, keepdims=True))


def interruptions(act):
    """Run `act` again and again, each time with an interrupt at the next place that can have one.

    Python looks for a Ctrl-C where a function begins and where one written in C has returned.
    """
    outer, nth = sys.getprofile(), 0
    while True:
        nth += 1
        left = nth

        def profile(frame, event, arg):
            nonlocal left
            if event in ("call", "c_return"):
                left -= 1
                if left == 0:
                    sys.setprofile(outer)
                    raise KeyboardInterrupt

        interrupted = False
        try:
            sys.setprofile(profile)
            act()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setprofile(outer)
        if not interrupted:
            return
        yield nth


@pytest.mark.parametrize("kind", ["predict", "evaluating"])
def test_an_interrupt_at_any_moment_leaves_a_model_as_it_was(kind):
    model = ModuleList([Linear(2, 2, rng=0), BatchNorm(2).eval(), BatchNorm(2), Scale(2)])
    X = np.array([[1.0, 2.0], [3.0, 5.0]])
    model(X)
    before = [dict(vars(module)) for _, module in model.named_modules()]

    def act():
        if kind == "predict":
            model.predict(-X)
        else:
            with model.evaluating():
                model[0].training  # noqa: B018 - something to be interrupted

    for nth in interruptions(act):
        after = [vars(module) for _, module in model.named_modules()]
        assert [list(names) for names in after] == [list(names) for names in before], nth
        for now, then in zip(after, before, strict=True):
            assert all(now[name] is then[name] for name in then), nth
        modes = [module.training for _, module in model.named_modules()]
        assert modes == [True, True, False, True, True], nth
    assert nth > 20
    assert not evaluation._evaluations


def train_a_step(model, X, delta):
    """Run one step in the open, and return every gradient."""
    model(X)
    gradient = model.backpropagate(delta)
    return [gradient, *(parameter.grad.copy() for parameter in model.parameters())]


def test_predictions_beside_a_training_touch_nothing_that_it_keeps():
    model = ModuleList([Linear(3, 4, rng=0), BatchNorm(4), Tanh(), tnn.Dropout(0.5, rng=0)])
    model.append(Keeping())
    model.astype(np.float64)
    rng = np.random.default_rng(0)
    X, delta = rng.normal(size=(8, 3)), rng.normal(size=(8, 4))
    alone = copy.deepcopy(model)
    ended, n_predictions = threading.Event(), 0

    def predict():
        nonlocal n_predictions
        while not ended.is_set():
            model.predict(rng_of_thread.normal(size=(5, 3)))
            n_predictions += 1

    rng_of_thread = np.random.default_rng(1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=predict)
    try:
        thread.start()
        steps = [train_a_step(model, X, delta) for _ in range(100)]
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert n_predictions > 5
    for step in steps:
        for gradient, expected in zip(step, train_a_step(alone, X, delta), strict=True):
            np.testing.assert_array_equal(gradient, expected)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, alone.state_dict()[name])


class Keeping(Module):
    """A user's module that keeps what it needs under names of its own."""

    def __call__(self, X):
        self.input, self.n_calls = X, getattr(self, "n_calls", 0) + 1
        return X**2

    def backpropagate(self, delta):
        return 2 * self.input * delta


def test_a_prediction_between_forward_and_backward_changes_no_gradient():
    module, X = ModuleList([Keeping()]), np.array([[3.0]])
    module(X)
    module.predict(np.array([[5.0], [6.0]]))
    assert module.backpropagate(np.array([[1.0]])).tolist() == [[6.0]]
    assert module[0].n_calls == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("kind", ["predict", "evaluating"])
def test_a_process_forked_while_another_thread_evaluates_can_train(kind):
    inside, may_leave = threading.Event(), threading.Event()

    def wait():
        inside.set()
        may_leave.wait(30)

    meanwhile = Meanwhile()
    model = ModuleList([meanwhile, BatchNorm(2, dtype=np.float64)])
    X = np.array([[1.0, 2.0], [3.0, 5.0]])

    def evaluate():
        if kind == "predict":
            meanwhile.to_do.append(wait)
            model.predict(X)
        else:
            with model.evaluating():
                wait()

    thread = threading.Thread(target=evaluate)
    thread.start()
    assert inside.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
        child = os.fork()
    if child == 0:  # nothing may leave this branch
        status = 1
        try:
            modes = [module.training for _, module in model.named_modules()]
            model(X)
            trained = model[1].num_batches_tracked == 1
            same = (model.predict(X) == model.predict(X)).all()
            status = 0 if all(modes) and trained and same else 2
        finally:
            os._exit(status)
    may_leave.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert model.training


def test_a_process_forked_inside_an_evaluating_block_is_still_inside():
    model = BatchNorm(2)
    with model.evaluating():
        evaluation._end_evaluations_of_others()  # what the child runs
        assert not model.training
    assert model.training


def test_a_mode_that_is_set_inside_of_an_evaluating_block_counts():
    model = ModuleList([BatchNorm(2), tnn.Dropout(0.5)])  # Monte-Carlo dropout
    with model.evaluating():
        model[1].train()
        assert [m.training for _, m in model.named_modules()] == [False, False, True]
    assert [m.training for _, m in model.named_modules()] == [True, True, True]


def test_twins_are_made_wherever_modules_are():
    class Pair(NamedTuple):
        left: object
        right: object

    class Everywhere(Module):
        def __init__(self):
            self.rows = [[BatchNorm(2)], {"a": BatchNorm(2), "n": 3}]
            self.pair = Pair(BatchNorm(2), "text")
            self.shared = self.rows
            self.log = []
            self.log.append(self.log)  # a list that contains itself
            self.parent = self

        def __call__(self, X):
            self.log.append(len(X))
            for norm in (self.rows[0][0], self.shared[1]["a"], self.pair.left):
                X = norm(X)
            assert self.parent is self
            assert self.shared is self.rows
            return X

    module = Everywhere()
    X = np.array([[1.0, 2.0], [3.0, 5.0]])
    module.predict(X)
    norms = [module.rows[0][0], module.rows[1]["a"], module.pair.left]
    assert [norm.num_batches_tracked for norm in norms] == [0, 0, 0]
    assert all(norm._saved is None for norm in norms)
    assert module.log[1:] == [2]  # a list without modules is the very same one
    module(X)
    assert [norm.num_batches_tracked for norm in norms] == [1, 1, 1]


def test_train_and_eval_return_the_module():
    module = BatchNorm(2)
    assert module.eval() is module
    assert not module.training
    assert module.train() is module
    assert module.training
    assert not module.train(False).training


# ---- dtype ---------------------------------------------------------------------------------------


def test_astype_converts_parameters_and_buffers_in_place():
    model = ModuleList([Linear(2, 3), BatchNorm(3)])
    parameters = model.parameters()
    assert model.dtype == np.float32
    assert model.astype(np.float64) is model
    assert model.dtype == np.float64
    assert model.parameters() == parameters
    kinds = {name: array.dtype for name, array in model.state_dict().items()}
    assert kinds.pop("1.num_batches_tracked").kind == "i"
    assert set(kinds.values()) == {np.dtype(np.float64)}
    assert model(np.ones((2, 2))).dtype == np.float64
    for wrong in (int, complex, "no dtype", None):
        with pytest.raises(OptionError, match="dtype"):
            model.astype(wrong)
    assert ReLU().dtype == np.float32


def test_astype_before_sizes_are_known_counts():
    for module in (BatchNorm(), Linear(None, 3)):
        model = ModuleList([Linear(2, 3, dtype=np.float64), module.astype(np.float64)])
        assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}


# ---- copies --------------------------------------------------------------------------------------


def test_what_a_call_kept_is_not_pickled():
    module = Linear(10, 2)
    small = len(pickle.dumps(module))
    module(np.ones((10_000, 10)))
    assert len(pickle.dumps(module)) == small
    module.predict(np.ones((10, 10)))
    assert len(pickle.dumps(module)) == small
    assert len(pickle.dumps(ModuleList([module]))) < 2 * small


def test_a_copy_keeps_what_is_shared_shared():
    model = copy.deepcopy(Mixture(3))
    assert model.tied is model.body[0].weight
    assert len(model.parameters()) == 8


# ---- summary -------------------------------------------------------------------------------------


def test_the_summary_counts_and_nests():
    model = ModuleList([Linear(4, 3), ModuleList([BatchNorm(3), Tanh()]), Linear(3, 1000)])
    lines = model.summary().splitlines()
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert cells == [
        ["position", "module", "output shape", "parameters"],
        [lines[1]],
        ["input", "(N, 4)"],
        ["0", "Linear(4, 3)", "(N, 3)", "15"],
        ["1", "ModuleList", "(N, 3)", "6"],
        ["1.0", "BatchNorm(3)", "(N, 3)", "6"],
        ["1.1", "Tanh()", "(N, 3)", "0"],
        ["2", "Linear(3, 1000)", "(N, 1000)", "4,000"],
        [lines[1]],
        ["total", "4,021"],
    ]
    assert set(lines[1]) == {"-"}
    assert len({len(line) for line in lines if line.endswith(tuple("0123456789-"))}) == 1


def test_the_summary_takes_a_shape_and_names_what_does_not_fit():
    model = ModuleList([tnn.Flatten(), Linear(12, 5)])
    assert "(N, 3, 2, 2)" in model.summary((3, 2, 2))
    with pytest.raises(ShapeError, match=r"^ModuleList\[1\] Linear\(12, 5\) takes 12 features"):
        model.summary((3, 2, 3))
    assert "(N, ...)" in ReLU().summary()


def rows(model, *shape):
    """The cells of every line but the header and the rules."""
    lines = [line for line in model.summary(*shape).splitlines()[1:] if set(line) != {"-"}]
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


def test_the_summary_takes_branches_apart():
    model = ModuleList(
        [
            Linear(4, 3),
            tnn.Residual(ModuleList([Linear(3, 2), Linear(2, 3)]), Linear(3, 3)),
            tnn.Concat([tnn.Identity(), Linear(3, 5)], dim=-1),
            tnn.Parallel([tnn.Identity(), BatchNorm()]),
        ]
    )
    assert rows(model) == [
        ["input", "(N, 4)"],
        ["0", "Linear(4, 3)", "(N, 3)", "15"],
        ["1", "Residual", "(N, 3)", "29"],
        ["1.module", "ModuleList", "(N, 3)", "17"],
        ["1.module.0", "Linear(3, 2)", "(N, 2)", "8"],
        ["1.module.1", "Linear(2, 3)", "(N, 3)", "9"],
        ["1.shortcut", "Linear(3, 3)", "(N, 3)", "12"],
        ["2", "Concat(dim=-1)", "(N, 8)", "20"],
        ["2.0", "Identity()", "(N, 3)", "0"],
        ["2.1", "Linear(3, 5)", "(N, 5)", "20"],
        ["3", "Parallel", "(N, 8)", "16"],
        ["3.0", "Identity()", "(N, 8)", "0"],
        ["3.1", "BatchNorm(8)", "(N, 8)", "16"],
        ["total", "80"],
    ]
    positions = [row[0] for row in rows(model)[1:-1]]
    assert positions == [name for name, _ in model.named_modules() if name]
    indents = [len(line) - len(line.lstrip()) for line in model.summary().splitlines()[3:-2]]
    assert indents == [2 * position.count(".") for position in positions]


def test_the_summary_of_a_module_outside_of_a_list():
    assert rows(tnn.Residual(Linear(3, 3))) == [
        ["input", "(N, 3)"],
        ["Residual", "(N, 3)", "12"],
        ["module", "Linear(3, 3)", "(N, 3)", "12"],
        ["total", "12"],
    ]
    assert rows(ModuleList()) == [["input", "(N, ...)"], ["total", "0"]]


def test_the_summary_of_a_users_module_says_what_it_knows():
    # Which way numbers take inside of it nobody can tell.
    assert rows(Mixture(3), (3,)) == [
        ["input", "(N, 3)"],
        ["Mixture", "(N, 1)", "22"],
        ["heads.0", "Linear(3, 1, dtype='float64')", "(N, ..., 1)", "4"],
        ["heads.1", "Linear(3, 1, dtype='float64')", "(N, ..., 1)", "4"],
        ["body", "ModuleList", "(N, ..., 3)", "12"],
        ["body.0", "Linear(3, 3, dtype='float64')", "(N, ..., 3)", "12"],
        ["body.1", "Tanh()", "(N, ..., 3)", "0"],
        ["total", "22"],
    ]


def test_the_summary_survives_a_module_that_knows_the_one_around_it():
    inner, outer = Tanh(), tnn.Residual(Linear(2, 2))
    inner.parent, outer.module.parent = inner, outer
    assert rows(inner, (2,))[1] == ["Tanh()", "(N, 2)", "0"]
    assert len(rows(outer)) == 4


def test_the_summary_has_a_question_mark_for_what_is_open():
    model = ModuleList([tnn.Flatten(), Linear(None, 3), BatchNorm()])
    assert rows(model)[1:] == [
        ["0", "Flatten()", "(N, ?)", "0"],
        ["1", "Linear(None, 3)", "(N, 3)", "3 + ?"],
        ["2", "BatchNorm(3)", "(N, 3)", "6"],
        ["total", "9 + ?"],
    ]
    assert rows(model, (2, 2)) == [  # a shape tells the sizes
        ["input", "(N, 2, 2)"],
        ["0", "Flatten()", "(N, 4)", "0"],
        ["1", "Linear(4, 3)", "(N, 3)", "15"],
        ["2", "BatchNorm(3)", "(N, 3)", "6"],
        ["total", "21"],
    ]
    assert rows(BatchNorm())[1:] == [["BatchNorm()", "(N, ...)", "0 + ?"], ["total", "0 + ?"]]


def test_the_summary_changes_nothing():
    model = ModuleList([Linear(4, 3), Scale(3)])
    model(np.ones((2, 4)))
    kept = [dict(vars(module)) for _, module in model.named_modules()]
    model.summary((4,))
    model._repr_html_()
    for (_, module), before in zip(model.named_modules(), kept, strict=True):
        assert vars(module).keys() == before.keys()
        assert all(vars(module)[name] is before[name] for name in before)


def test_a_notebook_shows_the_same_table():
    model = ModuleList([Linear(4, 3), ModuleList([BatchNorm(3), Tanh()]), Linear(3, 1000)])
    table = ElementTree.fromstring(model._repr_html_())
    assert table.tag == "table"
    cells = [["".join(cell.itertext()) for cell in line] for line in table.iter("tr")]
    assert cells[0] == ["position", "module", "output shape", "parameters"]
    assert [[text for text in line if text] for line in cells[1:]] == rows(model)
    steps = [
        [span.get("style") for cell in line for span in cell.iter("span")]
        for line in table.iter("tr")
    ]
    assert steps == [[]] * 4 + [["padding-left: 1.5em"] * 2] * 2 + [[]] * 2


def test_a_notebook_is_shown_no_markup_of_a_users():
    class Named(Module):
        def __call__(self, X):
            return X.copy()

        def __repr__(self):
            return "<script>alert('&')</script>"

    html = ModuleList([Named()])._repr_html_()
    assert "<script" not in html
    (_, line, _) = next(ElementTree.fromstring(html).iter("tbody"))
    assert line[1].text == "<script>alert('&')</script>"


def test_a_module_that_cannot_be_tried_out_is_shown_as_text():
    class Half(Linear):
        output_shape = Module.output_shape

        def __call__(self, X):
            raise NotImplementedError

    assert Half(2, 3)._repr_html_() is None
    with pytest.raises(NotImplementedError):
        Half(2, 3).summary()


def test_the_output_shape_of_a_module_that_does_not_say_is_tried_out():
    module = Scale(3)
    assert module.output_shape((3,)) == (3,)
    assert module.training
    with pytest.raises(StateError):
        module.backpropagate(np.ones((1, 3)))


def test_the_dtype_is_known_without_parameters():
    norm = BatchNorm(3, affine=False, dtype=np.float64)
    assert norm.dtype == np.float64
    assert eval(repr(norm), vars(tnn).copy()).running_mean.dtype == np.float64
    assert BatchNorm(dtype=np.float64).dtype == Linear(None, 2, dtype=np.float64).dtype
    large = np.array([[2**24 + 1] * 3, [0] * 3])  # no float32
    assert norm.astype(np.float32).dtype == np.float32
    Y = norm.astype(np.float64).eval()(large)
    assert Y[0, 0] == pytest.approx((2**24 + 1) / np.sqrt(1 + 1e-5), rel=1e-15)


def test_lists_of_lists_and_dictionaries_are_walked_too():
    class Grid(tnn.Module):
        def __init__(self):
            self.rows = [[tnn.Linear(2, 2)], [tnn.ReLU(), tnn.Linear(2, 1)]]
            self.heads = {"left": tnn.Linear(2, 1, bias=False)}

    names = [name for name, _ in Grid().named_parameters()]
    assert names == [
        "rows.0.0.weight",
        "rows.0.0.bias",
        "rows.1.1.weight",
        "rows.1.1.bias",
        "heads.left.weight",
    ]


def test_a_module_that_writes_to_the_gradient_of_one_inside_starts_anew_after_a_step():
    class Tied(tnn.Module):
        def __init__(self):
            self.inner = tnn.Linear(3, 2, bias=False, dtype=np.float64, rng=0)

        def __call__(self, X):
            W = self.inner.weight.data
            self._saved = X, X @ W.T
            return X @ W.T @ W

        def backpropagate(self, delta):
            X, H = self._saved
            W = self.inner.weight.data
            by_H = delta @ W.T
            self.inner.weight.grad += H.T @ delta + by_H.T @ X
            return by_H @ W

    tied = Tied()
    tnn.check_gradients(tied, (4, 3))
    optimizer = tnn.SGD(tied.parameters(), lr=0.0)
    for _ in range(2):
        X = np.arange(12.0).reshape(4, 3)
        tied(X)
        tied.backpropagate(np.ones((4, 3)))
        W = tied.inner.weight.data
        by_H = np.ones((4, 3)) @ W.T
        np.testing.assert_allclose(
            tied.inner.weight.grad, (X @ W.T).T @ np.ones((4, 3)) + by_H.T @ X, rtol=1e-12
        )
        optimizer.step()


def test_state_while_evaluating_holds_each_array_once():
    model = tnn.ModuleList([tnn.Linear(2, 2), tnn.BatchNorm()])
    names = list(model.state_dict())
    with model.evaluating():
        assert list(model.state_dict()) == names


def test_a_subclass_of_a_library_module_may_add_to_gradients_itself():
    class Own(tnn.Linear):
        def backpropagate(self, delta, input_gradient=True):
            X = self._saved
            self.weight.grad += delta.T @ X
            self.bias.grad += delta.sum(axis=0)
            return delta @ self.weight.data

    own = Own(3, 2, dtype=np.float64, rng=0)
    tnn.check_gradients(own, (4, 3))
    optimizer = tnn.SGD(own.parameters(), lr=0.0)
    X, delta = np.arange(12.0).reshape(4, 3), np.arange(8.0).reshape(4, 2)
    for _ in range(3):
        own(X)
        own.backpropagate(delta)
        np.testing.assert_allclose(own.weight.grad, delta.T @ X)
        optimizer.step()


# ---- a wrong gradient is refused where it arises -------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "came"),
    [
        (lambda delta: None, "returned NoneType; fix: does it end in a return"),
        (lambda delta: delta[:, :1], r"returned one of shape \(4, 1\)"),
        (lambda delta: delta.sum(axis=0), r"returned one of shape \(3,\)"),
        (lambda delta: float(delta.sum()), "returned float"),
        (lambda delta: delta.tolist(), "returned list"),
    ],
)
def test_a_wrong_gradient_is_blamed_on_the_module_that_returned_it(wrong, came):
    class Wrong(Module):
        def __call__(self, X):
            return X.copy()

        def backpropagate(self, delta):
            return wrong(delta)

    expected = r"Wrong\(\): backpropagate must return .* of the input's shape \(4, 3\), but " + came
    X = np.ones((4, 3))
    for model, where in (
        (Wrong(), "^"),
        (ModuleList([Linear(3, 3), ReLU(), Wrong(), Tanh()]), r"^ModuleList\[2\] "),
        (ModuleList([tnn.Residual(Wrong())]), r"^ModuleList\[0\]\.module "),
        (tnn.Parallel([Tanh(), Wrong()]), r"^Parallel\[1\] "),
    ):
        delta = np.ones_like(model(X))
        with pytest.raises(GradientError, match=where + expected):
            model.backpropagate(delta)
    module = Wrong()
    module(X)
    assert module.backpropagate(X, input_gradient=False) is None  # nobody asks for it


# ---- subclasses that call the passes of their base class -----------------------------------------


class Cropped(Linear):
    """A linear map of which the first column of the output is left out."""

    def __call__(self, X):
        return super().__call__(X)[:, 1:].copy()

    def backpropagate(self, delta, input_gradient=True):
        return super().backpropagate(np.pad(delta, [(0, 0), (1, 0)]), input_gradient)


def test_the_checks_run_once_for_a_pass_and_that_of_its_base_class():
    module = Cropped(3, 4, rng=0, dtype=np.float64)
    tnn.check_gradients(module, (5, 3))
    module(np.ones((5, 3)))
    with pytest.raises(ShapeError, match=r"output of shape \(5, 3\), but delta has shape \(5, 4\)"):
        module.backpropagate(np.ones((5, 4)))  # it fits the pass of the base class


def test_a_pass_that_fails_behind_that_of_its_base_class_leaves_nothing_to_backpropagate():
    class Failing(Linear):
        def __call__(self, X):
            super().__call__(X)
            raise KeyError

    module = Failing(2, 2)
    with pytest.raises(KeyError):
        module(np.ones((1, 2)))
    with pytest.raises(StateError, match="nothing to backpropagate"):
        module.backpropagate(np.ones((1, 2)))


def test_a_pass_that_is_replaced_from_outside_is_still_checked(monkeypatch):
    calls, original = [], ReLU.__call__

    def spy(self, X):
        calls.append(X)
        return original(self, X)

    monkeypatch.setattr(ReLU, "__call__", spy)
    module = ReLU()
    module([[1, -1]])
    assert len(calls) == 1
    assert module.backpropagate(np.ones((1, 2), np.float32)).tolist() == [[1, 0]]


def test_the_source_of_a_module_may_be_copied_into_a_notebook():
    """The path that gradients take does not depend on the file in which a class stands."""
    names = dict(vars(sys.modules[Linear.__module__]), __name__="notebook")
    exec(inspect.getsource(Linear), names)
    copied = names["Linear"](3, 2, rng=0)
    own = Linear(3, 2, rng=0)
    X, delta = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    for module in (own, copied):
        optimizer = tnn.SGD(module.parameters(), lr=0.1)
        for _ in range(3):
            module(X)
            module.backpropagate(delta)
            optimizer.step()
    np.testing.assert_array_equal(copied.weight.data, own.weight.data)
    np.testing.assert_array_equal(copied.weight.grad, own.weight.grad)


def test_a_consumed_gradient_stays_readable_until_a_backward_pass_of_its_own():
    first, second = Scale(2), Scale(2)
    X = np.array([[1.0, 2.0]])
    for module in (first, second):
        optimizer = tnn.SGD(module.parameters(), lr=0.0)
        module(X)
        module.backpropagate(X)
        optimizer.step()
    second.backpropagate(X)  # another module's
    assert first.factor.grad.tolist() == [1, 4]


# ---- inputs that are no batch --------------------------------------------------------------------


@pytest.mark.parametrize("build", [ReLU, tnn.ELU, tnn.SELU, tnn.PReLU, Tanh, tnn.Identity, Scale])
def test_a_single_number_is_no_batch(build):
    module = build(1) if build is Scale else build()
    for number in (3.0, np.array(3.0), np.float32(3), 3):
        with pytest.raises(ShapeError, match=r"a batch of shape \(N, ...\), but its input is"):
            module(number)
