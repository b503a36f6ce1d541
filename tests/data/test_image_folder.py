"""Pictures in class folders: what becomes of each, lazy reading, what is wrong with a folder."""

import json
import shutil

import numpy as np
import pytest

from tinynn.data import ImageEncoding, ImageFolderDataLoaderFactory, Preprocessing, RandomFlip
from tinynn.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image")


def make(folder, n=12, classes=("bright", "dark"), seed=0):
    """Gray pictures of mixed sizes, the brightness of each telling its class and number."""
    rng = np.random.default_rng(seed)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            shape = rng.integers(8, 20, 2)
            pixels = np.full(shape, 200 - 100 * k + i, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "shapes")


def rows_of(loader):
    X, y = zip(*loader, strict=True)
    return np.concatenate(X), np.concatenate(y)


def read(tmp_path, image, size=2, channels=3, **options):
    """What one picture becomes, as pixels from 0 to 255."""
    path = image
    if not isinstance(image, str):
        path = tmp_path / "one.png"
        image.save(path)
    encoding = ImageEncoding([[[0.0]]], [[[1.0]]], size, channels, **options)
    return encoding.transform(path)[0]


# ---- what becomes of a picture -------------------------------------------------------------------


def test_every_picture_lands_in_one_split_with_its_class(folder):
    data = ImageFolderDataLoaderFactory(folder, 4, channels=1, scale=False)
    assert data.feature_shape == (1, 4, 4)
    assert data.class_names == ("bright", "dark")
    parts = [rows_of(x) for x in (data.train_loader, data.validation_loader, data.test_loader)]
    values = np.concatenate([X[:, 0, 1, 1] * 255 for X, _ in parts]).round().astype(int)
    y = np.concatenate([y for _, y in parts])
    assert sorted(values) == [*range(100, 112), *range(200, 212)]
    assert ((values < 150) == (y == 1)).all()


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 40, (40, 40, 40)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (50, 0), (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 0x4100, (0x41, 0x41, 0x41)),
    ],
)
def test_modes(tmp_path, mode, color, expected):
    pixels = read(tmp_path, Image.new(mode, (3, 3), color))
    assert tuple(pixels[:, 0, 0]) == expected
    assert (pixels == pixels[:, :1, :1]).all()


def test_gray_is_the_usual_mean_of_colors(tmp_path):
    pixels = read(tmp_path, Image.new("RGB", (3, 3), (255, 0, 0)), channels=1)
    assert pixels.shape == (1, 2, 2)
    assert round(float(pixels[0, 0, 0])) == round(0.299 * 255)


def halves():
    """Black on the left, white on the right, twice as wide as high."""
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 4:] = 255
    return Image.fromarray(pixels)


def test_exif_turns_a_picture_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    path = tmp_path / "turned.png"
    halves().save(path, exif=exif)
    turned = read(tmp_path, str(path), (8, 4), channels=1)[0]
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(halves()), -1))


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("stretch", [[0, 0, 255, 255]] * 4),
        ("crop", [[0, 0, 255, 255]] * 4),
        ("pad", [[0, 0, 0, 0], [0, 0, 255, 255], [0, 0, 255, 255], [0, 0, 0, 0]]),
    ],
)
def test_another_shape_is_cropped_padded_or_stretched(tmp_path, resize, expected):
    pixels = read(tmp_path, halves(), 4, channels=1, resize=resize)[0]
    np.testing.assert_allclose(pixels, expected, atol=40)  # resampling blurs the edge
    # A mark at the left edge is cut away, kept thin, or kept as wide as a quarter.
    marked = np.zeros((4, 8), np.uint8)
    marked[:, 0] = 255
    pixels = read(tmp_path, Image.fromarray(marked), 4, channels=1, resize=resize)[0]
    assert (pixels.max() > 0) == (resize != "crop")


def test_statistics_are_those_of_the_training_pictures(folder):
    data = ImageFolderDataLoaderFactory(folder, 4, dtype=np.float64)
    X, _ = rows_of(data.train_loader)
    np.testing.assert_allclose(X.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(axis=(0, 2, 3)), 1, rtol=1e-12)


def test_augmentation_changes_the_training_alone(folder):
    flip = RandomFlip(rng=0)
    data = ImageFolderDataLoaderFactory(folder, 4, train_transform=flip)
    assert data.train_loader.transform is flip
    assert data.test_loader.transform is None
    lazy = ImageFolderDataLoaderFactory(folder, 4, train_transform=flip, lazy=True)
    assert lazy.train_loader.transform is flip


def test_a_test_folder(folder, tmp_path):
    make(tmp_path / "later", n=3, classes=["dark"])
    for lazy in (False, True):
        data = ImageFolderDataLoaderFactory(
            folder, 4, test_path=tmp_path / "later", lazy=lazy, validation_fraction=0
        )
        assert (data.train_loader.n_samples, data.test_loader.n_samples) == (24, 3)
        assert rows_of(data.test_loader)[1].tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="has the class 'cat', which"):
        ImageFolderDataLoaderFactory(
            folder, 4, test_path=make(tmp_path / "other", classes=["cat", "dark"])
        )


@pytest.mark.parametrize("options", [{}, {"flatten": True, "channels": 1, "resize": "pad"}])
def test_it_comes_back_from_json(folder, options):
    data = ImageFolderDataLoaderFactory(folder, (4, 6), **options)
    state = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in data.preprocessing.state().items()
    }
    again = Preprocessing.from_state(json.loads(json.dumps(state)))
    new = folder / "dark" / "03.png"
    rows = again.transform([new, Image.open(new)])
    assert rows.shape == (2, *data.feature_shape)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[:1], data.prepare(new))
    with pytest.raises(DataError, match="kind 'image' is damaged"):
        Preprocessing.from_state(state | {"channels": 2})
    with pytest.raises(DataError, match="cannot be read as a picture"):
        again.transform("no.png")


# ---- lazy reading --------------------------------------------------------------------------------


def test_lazy_loaders_give_the_same_rows(folder, monkeypatch):
    monkeypatch.setattr("tinynn.data.image_folder.CHUNK", 5)
    eager, lazy = (ImageFolderDataLoaderFactory(folder, 4, lazy=lazy) for lazy in (False, True))
    assert repr(eager) == repr(lazy)
    for name in ("train_loader", "validation_loader", "test_loader"):
        (X, y), (Z, t) = rows_of(getattr(eager, name)), rows_of(getattr(lazy, name))
        order, other = (np.lexsort((part[:, 0, 1, 1], labels)) for part, labels in ((X, y), (Z, t)))
        np.testing.assert_allclose(X[order], Z[other], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y[order], t[other])
    first, second = (rows_of(lazy.train_loader)[1] for _ in range(2))
    assert first.tolist() != second.tolist()  # shuffled anew


def test_many_pictures_are_read_lazily_by_themselves(folder, monkeypatch):
    monkeypatch.setattr(ImageFolderDataLoaderFactory, "lazy_above", 1000)
    data = ImageFolderDataLoaderFactory(folder, 4)
    assert type(data.train_loader).__name__ == "StreamDataLoader"


# ---- what is wrong with a folder -----------------------------------------------------------------


def spoil(folder):
    whole = (folder / "dark" / "03.png").read_bytes()
    (folder / "dark" / "03.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bright" / "05.png").write_text("no picture")
    (folder / "bright" / "notes.txt").write_text("left aside")


@pytest.mark.parametrize("lazy", [False, True])
def test_unreadable_pictures_are_named_or_left_out(folder, lazy):
    spoil(folder)
    with pytest.raises(DataError, match=r"2 of 24 pictures cannot be read \(.*05\.png.*03\.png"):
        ImageFolderDataLoaderFactory(folder, 4, lazy=lazy)
    data = ImageFolderDataLoaderFactory(folder, 4, lazy=lazy, unreadable="leave out")
    assert [path.name for path, _ in data.unreadable] == ["05.png", "03.png"]
    assert len(data.paths) == 22
    loaders = data.train_loader, data.validation_loader, data.test_loader
    assert sum(len(rows_of(loader)[1]) for loader in loaders) == 22


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda top: shutil.rmtree(top / "dark"), "one class folder only, 'bright'"),
        (lambda top: [p.unlink() for p in top.rglob("*.png")], "no picture in any folder"),
        (lambda top: shutil.rmtree(top), "does not exist"),
        (lambda top: (shutil.rmtree(top), top.write_text("")), "is a file, and no folder"),
        (
            lambda top: [p.rename(top / f"{p.parent.name}{p.name}") for p in top.rglob("*.png")],
            "has 24 pictures, but no folder for each class",
        ),
        (lambda top: (top / "empty").mkdir(), "class folder .*empty has no picture"),
        (
            lambda top: [
                (top / a).rename(top / b) for a, b in (("dark", "train"), ("bright", "test"))
            ],
            "folders of splits, test and train",
        ),
        (
            lambda top: [p.unlink() for p in (top / "dark").glob("*.png") if p.stem > "01"],
            "each of the 3 splits needs a row of class 1",
        ),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_bad_folders_are_one_clear_sentence(folder, change, message, lazy):
    change(folder)
    with pytest.raises(DataError, match=message) as caught:
        ImageFolderDataLoaderFactory(folder, 4, lazy=lazy)
    assert "\n" not in str(caught.value)


def test_a_class_without_a_readable_picture(folder):
    for path in (folder / "dark").glob("*.png"):
        path.write_text("no picture")
    with pytest.raises(DataError, match="no picture of the class 'dark' can be read"):
        ImageFolderDataLoaderFactory(folder, 4, unreadable="leave out")


@pytest.mark.parametrize(
    "options",
    [
        {"path": 3},
        {"size": 0},
        {"size": (1, 2, 3)},
        {"channels": 2},
        {"channels": True},
        {"resize": "zoom"},
        {"unreadable": "ignore"},
        {"lazy": 1},
        {"batch_size": 0},
    ],
)
def test_invalid_options(folder, options):
    with pytest.raises(OptionError):
        ImageFolderDataLoaderFactory(**{"path": folder, "size": 4, **options})
