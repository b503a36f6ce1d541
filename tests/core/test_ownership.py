"""What comes out of a pickle is writable and one's own, however it was stored."""

import copy
import pickle

import joblib
import numpy as np
import pytest

import tinynn as tnn
from tinynn.core.ownership import own_arrays


def test_arrays_that_are_not_plainly_ones_own_are_copied(tmp_path):
    own = np.arange(3.0)
    read_only = own.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "x.npy", own)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    state = {"own": own, "lists": [[read_only], (own[:2],), {"mapped": mapped}], "text": "x"}
    found = own_arrays(state)
    assert found["own"] is own
    for array, source in (
        (found["lists"][0][0], read_only),
        (found["lists"][1][0], own),
        (found["lists"][2]["mapped"], mapped),
    ):
        assert type(array) is np.ndarray
        assert array.flags.owndata
        assert array.flags.writeable
        assert not np.shares_memory(array, source)
        np.testing.assert_array_equal(array, own[: len(array)])
    assert state["lists"][0][0] is read_only  # what came is as it was


def test_objects_without_such_arrays_stay_the_same():
    inner = [1, np.zeros(2)]
    circle = []
    circle.append(circle)
    for value in (inner, {"a": inner}, (inner, "x"), None, circle):
        assert own_arrays(value) is value


def test_memory_order_and_subclasses_stay():
    class Labeled(np.ndarray):
        pass

    columns = np.asfortranarray(np.ones((2, 3)))[:, :2]
    assert own_arrays(columns).flags.f_contiguous
    assert type(own_arrays(np.ones(3).view(Labeled))) is Labeled


# ---- what is trained on after it was loaded ------------------------------------------------------


def used():
    """A model and its optimizer after two steps, with everything that steps write to."""
    model = tnn.ModuleList([tnn.Linear(4, 3, rng=0), tnn.BatchNorm(), tnn.Linear(3, 2, rng=1)])
    optimizer = tnn.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
    loss_fn = tnn.CrossEntropyLoss(class_weight=[1, 2])
    loss_fn(model(X), np.array([0, 1, 0, 1, 1]))
    model.backpropagate(loss_fn.backpropagate())
    optimizer.step()


def everything(model, optimizer):
    vectors = {name: getattr(optimizer, f"_{name}") for name in optimizer.state_vectors}
    return {**model.state_dict(), **vectors}


def by_memory_map(pair, folder):
    joblib.dump(pair, folder / "pair")
    return joblib.load(folder / "pair", mmap_mode="r")


def by_immutable_buffers(pair, folder):
    buffers = []
    text = pickle.dumps(pair, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(text, buffers=[bytes(buffer) for buffer in buffers])


def by_shared_buffers(pair, folder):
    buffers = []
    text = pickle.dumps(pair, protocol=5, buffer_callback=buffers.append)
    shared = [bytearray(buffer) for buffer in buffers]
    pickle.loads(text, buffers=shared)[0].eval()
    return pickle.loads(text, buffers=shared)


def by_deepcopy(pair, folder):
    return copy.deepcopy(pair)


WAYS = [by_memory_map, by_immutable_buffers, by_shared_buffers, by_deepcopy]


@pytest.mark.parametrize("way", WAYS)
def test_training_goes_on_with_what_was_loaded(way, tmp_path):
    model, optimizer = used()
    twin = way((model, optimizer), tmp_path)
    again = way((model, optimizer), tmp_path)
    for array in everything(*twin).values():
        assert array.flags.writeable
    before = {name: array.copy() for name, array in everything(*again).items()}
    step(*twin)
    step(model, optimizer)
    for name, array in everything(model, optimizer).items():
        np.testing.assert_array_equal(everything(*twin)[name], array, err_msg=name)
        np.testing.assert_array_equal(everything(*again)[name], before[name], err_msg=name)


def stepped(model, optimizer):
    step(model, optimizer)
    return everything(model, optimizer)


def test_a_worker_trains_what_it_is_sent():
    # Arrays above `max_nbytes` are sent to workers as read-only files mapped into memory.
    model, optimizer = used()
    parallel = joblib.Parallel(n_jobs=2, max_nbytes=1)
    found = parallel(joblib.delayed(stepped)(model, optimizer) for _ in range(2))
    expected = stepped(model, optimizer)
    for result in found:
        for name, array in expected.items():
            np.testing.assert_array_equal(result[name], array, err_msg=name)


def test_an_estimator_from_a_mapped_file_learns_on(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    options = {"max_iter": 1, "random_state": 0, "batch_norm": True}
    net = tnn.estimators.NeuralNetClassifier((20,), **options)
    net.partial_fit(X, y, classes=[0, 1, 2])
    joblib.dump(net, tmp_path / "net")
    loaded = joblib.load(tmp_path / "net", mmap_mode="r")
    loaded.partial_fit(X, y)
    net.partial_fit(X, y)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


def test_states_from_a_mapped_file_are_copied(tmp_path):
    model, optimizer = used()
    joblib.dump((model.state_dict(), optimizer.state_dict()), tmp_path / "states")
    of_model, of_optimizer = joblib.load(tmp_path / "states", mmap_mode="r")
    twin = used()
    twin[0].load_state_dict(of_model)
    twin[1].load_state_dict(of_optimizer)
    step(*twin)
    step(model, optimizer)
    for name, array in everything(model, optimizer).items():
        np.testing.assert_array_equal(everything(*twin)[name], array, err_msg=name)
