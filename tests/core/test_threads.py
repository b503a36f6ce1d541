"""One thread for a product of middling size, all for a large one, and what was found put back."""

import threading

import numpy as np
import pytest

import tinynn as tnn
from tinynn.core import threads
from tinynn.data import DataLoader


def numbers():
    return [pool.num_threads for pool in threads.of_numpy().pools]


class Looks(np.ndarray):
    """An array that looks at the number of threads while it is multiplied."""

    def dot(self, other, out=None):
        self.seen = numbers()
        return np.asarray(self).dot(other, out)


def seen_by(n_rows, n_columns=500, other=None):
    """Multiply n_rows × n_columns by n_columns × 100, and return the threads there were."""
    A = np.zeros((n_rows, n_columns), np.float32).view(Looks)
    B = np.zeros((n_columns, 100), np.float32) if other is None else other
    try:
        threads.product(A, B)
    finally:
        seen_by.latest = A.seen
    return A.seen


@pytest.fixture(params=[1, 2])
def found(request):
    """Let there be so many threads, and put back what there was."""
    before = numbers()
    for pool in threads.of_numpy().pools:
        pool.set_num_threads(request.param)
    yield [request.param] * len(before)
    for pool, n in zip(threads.of_numpy().pools, before, strict=True):
        pool.set_num_threads(n)


@pytest.mark.parametrize(("n_rows", "on_one"), [(1, False), (32, True), (79, True), (80, False)])
def test_a_product_chooses_by_its_size(found, n_rows, on_one):
    assert seen_by(n_rows) == ([1] * len(found) if on_one else found)
    assert numbers() == found


def test_the_number_is_put_back_after_an_error(found):
    with pytest.raises(ValueError, match="not aligned"):
        seen_by(32, other=np.zeros((7, 100), np.float32))
    assert seen_by.latest == [1] * len(found)
    assert numbers() == found


def test_set_threads_overrules_the_choice(found):
    tnn.set_threads(None)  # nothing was overruled, and nothing changes
    assert numbers() == found
    try:
        for n in (1, 2):
            tnn.set_threads(n)
            assert numbers() == seen_by(32) == seen_by(80) == [n] * len(found)
    finally:
        tnn.set_threads(None)
    assert numbers() == found


def test_products_of_many_threads_at_once_leave_the_number_as_it_was(found):
    def work():
        for _ in range(200):
            threads.product(np.ones((32, 200), np.float32), np.ones((200, 100), np.float32))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert numbers() == found


def test_set_threads_while_another_thread_multiplies(found):
    class Sets(np.ndarray):
        """An array during whose product somebody else sets the number."""

        def dot(self, other, out=None):
            setter = threading.Thread(target=tnn.set_threads, args=(self.n,))
            setter.start()
            setter.join()
            return np.asarray(self).dot(other, out)

    def multiply_and_set(n):
        A = np.zeros((32, 500), np.float32).view(Sets)
        A.n = n
        threads.product(A, np.zeros((500, 100), np.float32))

    try:
        for n in (2, 1):
            multiply_and_set(n)
            assert numbers() == [n] * len(found)
            tnn.set_threads(None)
            assert numbers() == found
            tnn.set_threads(n)
            multiply_and_set(None)
            assert numbers() == found
    finally:
        tnn.set_threads(None)
    assert numbers() == found


def test_training_leaves_the_number_as_it_was(found):
    class Fails(tnn.Module):
        def __call__(self, X):
            return X * 1

        def backpropagate(self, delta):
            raise RuntimeError("on purpose")

    X, y = np.zeros((64, 200), np.float32), np.zeros(64, int)
    model = tnn.ModuleList([tnn.Linear(200, 100), tnn.ReLU()])
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, DataLoader(X, y), epochs=1, progress=False)
    assert numbers() == found
    model.append(Fails())
    with pytest.raises(RuntimeError, match="on purpose"):
        tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, DataLoader(X, y), epochs=1)
    assert numbers() == found
