"""Before training: a healthy set-up is left alone, and each planted fault gives just its line."""

import copy
import re

import numpy as np
import pytest

import tinynn as tnn
from tinynn import (
    ELU,
    BatchNorm,
    BCEWithLogitsLoss,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    ModuleList,
    MSELoss,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    preflight,
)
from tinynn.core.generators import find_generators
from tinynn.data import (
    BreastCancerDataLoaderFactory,
    DataLoader,
    DiabetesDataLoaderFactory,
    DigitsDataLoaderFactory,
    IrisDataLoaderFactory,
    PlaneDataLoaderFactory,
    WineDataLoaderFactory,
)
from tinynn.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6)).astype(np.float32)
Y = np.arange(300) % 3
RNG.shuffle(Y)


def network(*last, activation=ReLU, D=6, C=3, seed=0):
    tnn.manual_seed(seed)
    return ModuleList(
        [Linear(D, 32), activation(), Linear(32, 32), activation(), Linear(32, C), *last]
    )


def loader(features=X, targets=Y, **options):
    return DataLoader(features, targets, **({"shuffle": True, "rng": 0} | options))


def changed(**places):
    """The features, with something else in a column."""
    features = X.copy()
    for name, value in places.items():
        features[:, int(name[1:])] = value
    return features


# ---- the healthy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [ReLU, ELU, Sigmoid, Tanh])
@pytest.mark.parametrize(
    "factory",
    [
        IrisDataLoaderFactory,
        WineDataLoaderFactory,
        BreastCancerDataLoaderFactory,
        DigitsDataLoaderFactory,
        PlaneDataLoaderFactory,
    ],
)
def test_nothing_is_said_of_the_bundled_data_sets(factory, activation):
    data = factory()
    for seed in range(3):
        options = {"D": data.feature_shape[0], "C": data.n_classes, "seed": seed}
        model = network(activation=activation, **options)
        assert list(preflight(model, CrossEntropyLoss(), data.train_loader)) == []


def test_nothing_is_said_of_other_healthy_set_ups():
    data = DiabetesDataLoaderFactory()
    assert not preflight(network(D=10, C=1), MSELoss(), data.train_loader)
    images = DigitsDataLoaderFactory(flatten=False)
    tnn.manual_seed(0)
    convolutional = ModuleList(
        [Conv2d(1, 8, 3), BatchNorm(), ReLU(), Flatten(), Dropout(0.2), Linear(8 * 36, 10)]
    )
    assert not preflight(convolutional, CrossEntropyLoss(), images.train_loader)
    probabilities = CrossEntropyLoss(from_logits=False)
    assert not preflight(network(Softmax()), probabilities, loader())
    assert not preflight(network(C=1), BCEWithLogitsLoss(), loader(targets=(Y > 0)[:, None]))
    for reduction in ("mean", "sum"):
        loss_fn = CrossEntropyLoss(reduction=reduction, label_smoothing=0.1)
        assert not preflight(network(), loss_fn, loader())
    one_hot = np.eye(3)[Y]
    assert not preflight(network(), CrossEntropyLoss(), loader(targets=one_hot))
    # A list of batches with weights; one whole batch, in any order; a transform.
    batches = [(X[i : i + 50], Y[i : i + 50], np.ones(50)) for i in range(0, 300, 50)]
    assert not preflight(network(), CrossEntropyLoss(), batches)
    whole = loader(X, np.sort(Y), shuffle=False, batch_size=300)
    assert not preflight(network(), CrossEntropyLoss(), whole)
    scaled = loader(X * 100, transform=lambda batch: batch / 100)
    assert not preflight(network(), CrossEntropyLoss(), scaled)
    # Normalized by the model itself.
    assert not preflight(ModuleList([BatchNorm(6), *network()]), CrossEntropyLoss(), loader(X * 99))


def test_a_trained_model_is_healthy_too():
    data = DigitsDataLoaderFactory()
    model = network(D=64, C=10)
    tnn.fit(
        model,
        CrossEntropyLoss(),
        tnn.Adam(model.parameters()),
        data.train_loader,
        epochs=5,
        progress=False,
    )
    assert not preflight(model, CrossEntropyLoss(), data.train_loader)


# ---- the faults ----------------------------------------------------------------------------------


def dead_units():
    model = network()
    model[0].bias.data[:20] = -9
    return model


def last_weights(factor):
    model = network()
    model[4].weight.data *= factor
    return model


def two_classes(n_rare):
    y = np.zeros(3000, int)
    y[RNG.choice(3000, n_rare, replace=False)] = 1
    return RNG.normal(size=(3000, 6)), y


FAULTS = {
    "labels out of range": (
        lambda: (network(), CrossEntropyLoss(), loader(targets=[*Y[:299], 3])),
        r"the model has 3 classes, .* but row 299 of the data set is 3",
    ),
    "labels out of range in batches": (
        lambda: (network(), CrossEntropyLoss(), [(X, Y), (X, Y + 1)]),
        r"class indices from 0 to 2, but row \d+ is 3",
    ),
    "labels as floats": (
        lambda: (network(), CrossEntropyLoss(), loader(targets=Y + 0.5)),
        r"class indices as integers",
    ),
    "a second softmax": (
        lambda: (network(Softmax()), CrossEntropyLoss(), loader()),
        r"applies softmax itself, but the model ends in Softmax\(\)",
    ),
    "a second softmax behind what only moves numbers": (
        lambda: (network(Softmax(), Flatten()), CrossEntropyLoss(), loader()),
        r"applies softmax itself, but the model ends in Softmax\(\)",
    ),
    "a misfit of features": (
        lambda: (network(D=7), CrossEntropyLoss(), loader()),
        r"ModuleList\[0\] Linear\(7, 32\) takes 7 features, but its input has 6",
    ),
    "a misfit of targets": (
        lambda: (network(C=1), MSELoss(), loader(targets=Y / 2)),
        r"use target\.reshape\(-1, 1\)",
    ),
    "one large feature": (
        lambda: (network(), CrossEntropyLoss(), loader(changed(_2=X[:, 2] * 100))),
        r"the features are not scaled: column 2 has a size of \d+",
    ),
    "raw pixels": (
        lambda: (
            network(D=64),
            CrossEntropyLoss(),
            loader(RNG.integers(0, 256, (300, 64)).astype(np.uint8)),
        ),
        r"the features are not scaled",
    ),
    "tiny features": (
        lambda: (network(), CrossEntropyLoss(), loader(X / 255)),
        r"the features are tiny, of a size of 0\.004\d? .* scaled twice\? Fix: scale",
    ),
    "a constant feature": (
        lambda: (network(), CrossEntropyLoss(), loader(changed(_4=1))),
        r"column 4 of the features is the same in every row",
    ),
    "constant features": (
        lambda: (network(), CrossEntropyLoss(), loader(changed(_1=0, _5=0.5))),
        r"columns 1, 5 of the features are the same in every row",
    ),
    "features that are not numbers": (
        lambda: (
            network(),
            CrossEntropyLoss(),
            [(X[:200], Y[:200]), (np.where(X[200:] > 2.5, np.nan, X[200:]), Y[200:])],
        ),
        r"the features hold NaN or infinity, in \d of the 300 rows looked at, first in row 2\d\d;",
    ),
    "targets not scaled": (
        lambda: (network(C=1), MSELoss(), loader(targets=100 * X[:, :1] + 50)),
        r"the targets are not scaled: they have mean 4\d\.\d and deviation \d+",
    ),
    "a class that is missing": (
        lambda: (network(C=5), CrossEntropyLoss(), loader(targets=np.where(Y == 1, 4, Y))),
        r"the model has 5 classes, but no row is of classes 1, 3; was the split strat",
    ),
    "a rare class": (
        lambda: (network(C=2), CrossEntropyLoss(), loader(*two_classes(20))),
        r"very unequal: of 3000 rows only 20 are of class 1; weight them",
    ),
    "a rare positive": (
        lambda: (
            network(C=1),
            BCEWithLogitsLoss(),
            loader(two_classes(0)[0], two_classes(9)[1][:, None]),
        ),
        r"very unequal: of 3000 rows only 9 are of class 1",
    ),
    "sorted and not shuffled": (
        lambda: (network(), CrossEntropyLoss(), loader(targets=np.sort(Y), shuffle=False)),
        r"sorted by their target and never shuffled",
    ),
    "in blocks of one class and not shuffled": (
        lambda: (
            network(),
            CrossEntropyLoss(),
            [(X[i : i + 50], np.full(50, i // 50 % 3)) for i in range(0, 300, 50)],
        ),
        r"sorted by their target and never shuffled",
    ),
    "numbers sorted and not shuffled": (
        lambda: (
            network(C=1),
            MSELoss(),
            loader(targets=np.sort(X[:, :1], axis=0), shuffle=False),
        ),
        r"sorted by their target and never shuffled",
    ),
    "a last batch of one row": (
        lambda: (network(BatchNorm(3)), CrossEntropyLoss(), loader(X[:289], Y[:289])),
        r"there is a batch of one row: ModuleList\[5\] BatchNorm\(3\) takes at least 2 values",
    ),
    "batches of one row": (
        lambda: (network(BatchNorm(3)), CrossEntropyLoss(), loader(batch_size=1)),
        r"there is a batch of one row: .*\(drop_last=True\)",
    ),
    "dead units": (
        lambda: (dead_units(), CrossEntropyLoss(), loader()),
        r"ModuleList\[1\] ReLU: 6\d % of units never fire in these 300 rows",
    ),
    "scores far too large": (
        lambda: (last_weights(50), CrossEntropyLoss(), loader()),
        r"the first loss is \d+(\.\d)?, but a model that knows nothing has ln 3 = 1\.1: its scores",
    ),
    "a summed loss far too large": (
        lambda: (last_weights(50), CrossEntropyLoss(reduction="sum"), loader()),
        r"the first loss is \d+(\.\d)?, but a model that knows nothing has ln 3 = 1\.1",
    ),
    "weights that are not finite": (
        lambda: (last_weights(np.nan), CrossEntropyLoss(), loader()),
        r"ModuleList\[4\] Linear\(32, 3\) has a weight that is not finite from the start",
    ),
    "scores cut off": (
        lambda: (network(Sigmoid()), CrossEntropyLoss(), loader()),
        r"takes scores of any size, but the model ends in Sigmoid\(\), which gives only 0 to 1",
    ),
    "scores never negative": (
        lambda: (network(ReLU(), C=1), BCEWithLogitsLoss(), loader(targets=(Y > 0)[:, None])),
        r"takes scores of any size, but the model ends in ReLU\(\), which gives only 0 and more",
    ),
    "targets out of reach": (
        lambda: (network(Tanh(), C=1), MSELoss(), loader(targets=X[:, :1])),
        r"the targets go from -\d\.\d+ to \d\.\d+, but the model ends in Tanh\(\), which",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_gives_its_line_and_no_other(fault):
    build, line = FAULTS[fault]
    report = preflight(*build())
    assert len(report) == 1, report
    assert re.search(line, report[0]), report[0]


def test_several_faults_give_several_lines():
    model = network(C=5)
    model[2].bias.data[:20] = -9
    report = preflight(model, CrossEntropyLoss(), loader(changed(_3=1), shuffle=False))
    assert [text[:22] for text in report] == [
        "column 3 of the featur",
        "the model has 5 classe",
        "ModuleList[3] ReLU: 62",
    ]


def test_exploding_weights_are_told_with_the_loss():
    model = ModuleList(
        [
            Linear(64, 30, init=lambda shape, rng: rng.standard_normal(shape)),
            ReLU(),
            Linear(30, 30, init=lambda shape, rng: rng.standard_normal(shape)),
            ReLU(),
            Linear(30, 10, init=lambda shape, rng: rng.standard_normal(shape)),
        ]
    )
    report = preflight(model, CrossEntropyLoss(), DigitsDataLoaderFactory().train_loader)
    assert len(report) == 2
    assert "activations explode" in report[0]
    assert "ln 10 = 2.3" in report[1]


# ---- what it gives, and what it leaves -----------------------------------------------------------


def test_the_report_reads_well():
    report = preflight(network(), CrossEntropyLoss(), loader(changed(_3=7, _0=X[:, 0] * 1000)))
    assert len(report) == len(list(report)) == len(report[:]) == 2
    assert str(report) == f"This looks wrong:\n- {report[0]}\n- {report[1]}"
    assert report._repr_html_().count("<li>") == 2
    empty = preflight(network(), CrossEntropyLoss(), loader())
    assert str(empty) == "Nothing looks wrong."
    assert "Nothing looks wrong." in empty._repr_html_()
    assert not empty


class Counting:
    """A loader of one's own, with a generator and a count."""

    def __init__(self):
        self.rng, self.passes = np.random.default_rng(5), 0

    def __iter__(self):
        self.passes += 1
        order = self.rng.permutation(300)
        return iter([(X[order[:150]], Y[order[:150]]), (X[order[150:]], Y[order[150:]])])


@pytest.mark.parametrize("kind", ["loader", "own", "list", "transform"])
@pytest.mark.parametrize("rng", [None, 3])
def test_nothing_changes(kind, rng):
    noise = np.random.default_rng(1)
    batches = {
        "loader": lambda: loader(rng=rng),
        "own": Counting,
        "list": lambda: [(X.copy(), Y.copy())],
        "transform": lambda: loader(transform=lambda batch: batch + noise.normal(size=batch.shape)),
    }[kind]()
    model = ModuleList([Linear(6, 8, rng=0), BatchNorm(), Dropout(rng=rng), Linear(8, 3, rng=1)])
    model[1].eval()
    loss_fn = CrossEntropyLoss()
    loss_fn(model(X), Y)
    model.backpropagate(loss_fn.backpropagate())
    library = tnn.random.as_generator(None)

    def everything():
        owners = {"model": model, "loader": batches}
        generators = find_generators(owners)
        return copy.deepcopy(
            (
                model.state_dict(),
                [(p.grad, p._consumed, id(p.grad)) for p in model.parameters()],
                [(m.training, id(m._saved), sorted(vars(m))) for m in model],
                id(loss_fn._saved),
                {name: g.bit_generator.state for name, g in generators.items()},
                library.bit_generator.state,
                getattr(batches, "passes", 0),
            )
        )

    before = everything()
    preflight(model, loss_fn, batches)
    np.testing.assert_equal(everything(), before)


def test_data_larger_than_what_is_looked_at(tmp_path):
    big = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (5000, 6))
    big[:] = RNG.normal(size=(5000, 6))
    big[:, 2] = 3
    report = preflight(network(), CrossEntropyLoss(), loader(big, np.arange(5000) % 3))
    assert [text[:8] for text in report] == ["column 2"]
    # A column that differs in one row only is no constant.
    plain = np.array(big)
    plain[777, 2] = 0
    assert not preflight(network(), CrossEntropyLoss(), loader(plain, np.arange(5000) % 3))


def test_a_data_set_of_one_row():
    assert not preflight(network(), CrossEntropyLoss(), [(X[:1], Y[:1]), (X[1:3], [1, 2])][:1])[1:]


def test_refusals():
    batches = loader()
    with pytest.raises(OptionError, match="preflight takes a Module"):
        preflight([Linear(6, 3)], CrossEntropyLoss(), batches)
    with pytest.raises(OptionError, match="preflight needs a loss"):
        preflight(network(), CrossEntropyLoss, batches)
    with pytest.raises(OptionError, match="the loader must be a DataLoader"):
        preflight(network(), CrossEntropyLoss(), 3)
    with pytest.raises(DataError, match="would use up a generator"):
        preflight(network(), CrossEntropyLoss(), iter(batches))
    with pytest.raises(DataError, match="has no batch"):
        preflight(network(), CrossEntropyLoss(), [])
    with pytest.raises(DataError, match=r"must give batches \(X, y\)"):
        preflight(network(), CrossEntropyLoss(), [X, Y])
