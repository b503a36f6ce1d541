"""Images, weights and confusion matrices: which pictures, in which order, under which words."""

import numpy as np
import pytest
from matplotlib import pyplot

from tinynn import BatchNorm, Conv2d, Linear, ModuleList, Parallel, ReLU
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.metrics import confusion_matrix
from tinynn.plot import plot_confusion_matrix, plot_images, plot_weights


def pieces(ax, H, W):
    """The pictures that the montage shows, cut out of it, in reading order."""
    canvas = np.ma.filled(np.ma.asarray(ax.images[0].get_array(), dtype=float), np.nan)
    there = canvas[..., 3] > 0 if canvas.ndim == 3 else ~np.isnan(canvas)
    found = []
    for top in range(canvas.shape[0] - H + 1):
        for left in range(canvas.shape[1] - W + 1):
            if there[top : top + H, left : left + W].all():
                found.append(canvas[top : top + H, left : left + W, ...])
                there[top : top + H, left : left + W] = False
    assert not there.any()
    return found


def texts(ax):
    return [text.get_text() for text in ax.texts]


def images(n, H=4, W=4):
    """Pictures that differ in every number."""
    return np.arange(n * H * W, dtype=float).reshape(n, H, W)


# ---- images --------------------------------------------------------------------------------------


def test_the_worst_mistakes_come_first():
    X = images(4)
    scores = np.array([[2.0, 1.0, 0.0], [5.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.1, 0.0, 0.0]])
    target = [0, 2, 0, 0]
    # By how much the right class leads: 1, −4, −3 and 0.1.
    ax = plot_images(X, scores, target)
    assert texts(ax) == ["is 2, said 0", "is 0, said 1", "0", "0"]
    for piece, index in zip(pieces(ax, 4, 4), [1, 2, 3, 0], strict=True):
        np.testing.assert_array_equal(piece, X[index])
    assert ax.get_title() == "2 of 4 wrong, worst first"
    wrong, right = ax.texts[0].get_color(), ax.texts[2].get_color()
    assert [text.get_color() for text in ax.texts] == [wrong, wrong, right, right]
    assert wrong != right


def test_only_so_many_are_drawn_and_all_are_counted():
    scores = np.eye(2)[[0] * 30]
    ax = plot_images(images(30), scores, [0] * 10 + [1] * 20, n=3)
    assert len(pieces(ax, 4, 4)) == 3
    assert ax.get_title() == "20 of 30 wrong, worst first"


def test_all_right():
    ax = plot_images(images(2), [[3.0, 0.0], [0.0, 1.0]], [0, 1])
    assert ax.get_title() == "2 of 2 right, least certain first"
    assert texts(ax) == ["1", "0"]


def test_names_of_classes_and_long_ones_on_two_lines():
    scores = [[3.0, 0.0], [0.0, 1.0]]
    ax = plot_images(images(2), scores, [1, 1], class_names=["Sandal", "Boot"])
    assert texts(ax) == ["is Boot\nsaid Sandal", "Boot"]


def test_predictions_or_targets_alone_keep_the_order():
    ax = plot_images(images(2), [[3.0, 0.0], [0.0, 1.0]])
    assert (texts(ax), ax.get_title()) == (["said 0", "said 1"], "Images")
    assert texts(plot_images(images(2), target=[1, 0])) == ["1", "0"]
    assert texts(plot_images(images(2), target=np.eye(3)[[2, 0]])) == ["2", "0"]
    assert texts(plot_images(images(2), target=[[1.0], [0.0]])) == ["1", "0"]
    ax = plot_images(images(30))
    assert texts(ax) == []
    assert ax.get_title() == "The first 25 of 30 images"


def test_one_column_of_scores():
    scores = np.array([[0.9], [0.4], [0.2]])
    ax = plot_images(images(3), scores, np.array([[1.0], [0.0], [1.0]]), threshold=0.5)
    assert texts(ax) == ["is 1, said 0", "0", "1"]
    assert ax.get_title().startswith("1 of 3 wrong")


def test_images_that_are_not_square():
    X = images(3, H=2, W=5)
    ax = plot_images(X, columns=2)
    for piece, image in zip(pieces(ax, 2, 5), X, strict=True):
        np.testing.assert_array_equal(piece, image)
    flat = plot_images(X.reshape(3, 10), image_shape=(2, 5))
    np.testing.assert_array_equal(pieces(flat, 2, 5)[2], X[2])
    with pytest.raises(OptionError, match=r"rows of 10 numbers .* image_shape="):
        plot_images(X.reshape(3, 10))


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (3, 3), (4, 2), (7, 4), (10, 5), (25, 5)])
def test_few_gaps_are_left(n, columns):
    ax = plot_images(images(n), target=[0] * n)
    lefts = {text.get_position()[0] for text in ax.texts}
    assert len(lefts) == columns


def test_images_of_one_channel_and_rows_are_grey():
    X = images(2)
    for form in (X[:, np.newaxis], X.reshape(2, 16), X.astype(int)):
        np.testing.assert_array_equal(pieces(plot_images(form), 4, 4), X)
    picture = plot_images(X).images[0]
    assert picture.get_clim() == (0, 31)


def test_images_of_three_channels_are_in_colour():
    X = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5))
    X.flat[:2] = 0, 255
    ax = plot_images(X)
    expected = X.transpose(0, 2, 3, 1) / 255
    np.testing.assert_allclose([piece[..., :3] for piece in pieces(ax, 4, 5)], expected)
    rows = plot_images(X.reshape(2, -1), image_shape=(3, 4, 5))
    np.testing.assert_allclose(pieces(rows, 4, 5)[1][..., :3], expected[1])


def test_pictures_that_are_all_one_colour():
    plot_images(np.ones((1, 3, 2, 2))).figure.canvas.draw()
    plot_images(np.ones((1, 2, 2))).figure.canvas.draw()


def test_pictures_compose_and_letters_shrink_with_them():
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(3, 2))
    words = {"target": [0] * 9, "class_names": ["a long name"]}
    ax = plot_images(images(9), ax=right, **words)
    assert ax is right
    assert figure.axes == [left, right]
    assert not left.images
    assert ax.texts[0].get_fontsize() < plot_images(images(9), **words).texts[0].get_fontsize()
    figure.canvas.draw()
    # No label reaches into its neighbour.
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_part_of_a_figure_will_do():
    part, other = pyplot.figure().subfigures(1, 2)
    plot_images(images(4), target=[0] * 4, ax=part.add_subplot())
    plot_confusion_matrix(np.eye(3), ax=other.add_subplot(2, 1, 1))
    plot_weights(Linear(4, 2), ax=other.add_subplot(2, 1, 2))
    assert len(part.axes) == 1
    assert len(other.axes) == 4


def test_what_are_no_images_is_refused():
    with pytest.raises(ShapeError, match=r"\(N, H, W\).*but was given \(2, 4, 4, 3\)"):
        plot_images(np.zeros((2, 4, 4, 3)))
    with pytest.raises(ShapeError, match=r"image_shape \(3, 3\) does not fit"):
        plot_images(images(2), image_shape=(3, 3))
    with pytest.raises(DataError, match="at least one image"):
        plot_images(np.zeros((0, 4, 4)))
    with pytest.raises(ShapeError, match="2 images, but target has 3 rows"):
        plot_images(images(2), target=[0, 1, 2])
    with pytest.raises(ShapeError, match="2 images, but prediction has 1 rows"):
        plot_images(images(2), [[0.0, 1.0]])
    with pytest.raises(DataError, match="from 0 to 1 as targets, but row 1 is 2"):
        plot_images(images(2), np.eye(2), [0, 2])
    with pytest.raises(DataError, match="finite numbers as predictions"):
        plot_images(images(2), [[0.0, np.nan], [1.0, 0.0]], [0, 1])
    with pytest.raises(DataError, match="class indices, from 0 on"):
        plot_images(images(2), target=[-1, 0])
    with pytest.raises(OptionError, match="a name for each of the 3 classes"):
        plot_images(images(2), target=[0, 2], class_names=["a", "b"])
    for option in ({"n": 0}, {"columns": 0}):
        with pytest.raises(OptionError, match="plot_images: "):
            plot_images(images(2), **option)
    assert pyplot.get_fignums() == []


# ---- weights -------------------------------------------------------------------------------------


def test_each_unit_of_the_first_layer_is_a_picture():
    model = ModuleList([BatchNorm(16), Linear(16, 3), ReLU(), Linear(3, 2)])
    ax = plot_weights(model)
    W = model[1].weight.data
    np.testing.assert_array_equal(pieces(ax, 4, 4), W.reshape(3, 4, 4))
    assert ax.get_title() == "Weights of Linear(16, 3)"
    assert texts(ax) == ["0", "1", "2"]
    low, high = ax.images[0].get_clim()
    assert -low == high == np.abs(W).max()  # so that white is zero
    assert ax.figure.axes[1].get_ylabel() == "weight"


def test_a_module_of_the_network_and_so_many_units():
    model = ModuleList([Linear(4, 30), Linear(30, 2)])
    ax = plot_weights(model)
    assert ax.get_title() == "Weights of Linear(4, 30), the first 25 of 30"
    ax = plot_weights(model[1], n=1, image_shape=(5, 6))
    np.testing.assert_array_equal(pieces(ax, 5, 6), model[1].weight.data[:1].reshape(1, 5, 6))


def test_kernels():
    grey = Conv2d(1, 4, (2, 3))
    np.testing.assert_array_equal(pieces(plot_weights(grey), 2, 3), grey.weight.data[:, 0])
    colour = Conv2d(3, 2, 5)
    W = colour.weight.data.transpose(0, 2, 3, 1)
    drawn = np.array(pieces(plot_weights(colour), 5, 5))[..., :3]
    np.testing.assert_allclose((drawn - 0.5) * 2 * np.abs(W).max(), W, atol=1e-6)
    many = Conv2d(2, 3, 4)
    ax = plot_weights(many)
    np.testing.assert_array_equal(pieces(ax, 4, 4), many.weight.data.reshape(6, 4, 4))
    assert texts(ax) == ["0, 0", "0, 1", "1, 0", "1, 1", "2, 0", "2, 1"]


def test_weights_inside_branches_and_weights_that_are_zero():
    model = ModuleList([Parallel([ReLU(), Linear(4, 4, init="zeros")])])
    ax = plot_weights(model)
    assert ax.get_title() == "Weights of Linear(4, 4, init='zeros')"
    assert ax.images[0].get_clim() == (-1, 1)


def test_no_weights_to_draw():
    with pytest.raises(OptionError, match="a weight of two axes or more"):
        plot_weights(ModuleList([ReLU(), BatchNorm(4)]))
    with pytest.raises(OptionError, match=r"plot_weights draws a Module, but was given 3"):
        plot_weights(3)
    with pytest.raises(OptionError, match="rows of 3 numbers"):
        plot_weights(Linear(3, 2))
    assert pyplot.get_fignums() == []


# ---- confusion matrices --------------------------------------------------------------------------

COUNTS = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])


def test_counts_in_cells_and_parts_of_rows_as_colours():
    ax = plot_confusion_matrix(COUNTS, class_names=["a", "b", "c"])
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 0]])
    assert texts(ax) == ["8", "2", "0", "0", "5", "0", "0", "0", "0"]
    # Row r is the true class: text c, r lies at column c.
    assert [ax.texts[1].get_position(), ax.texts[3].get_position()] == [(1, 0), (0, 1)]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_title() == "Confusion matrix, 86.7 % right"
    assert ax.texts[0].get_color() == "white"
    assert ax.texts[1].get_color() == "black"


def test_percent_of_rows():
    ax = plot_confusion_matrix(COUNTS, normalize=True)
    assert texts(ax)[:5] == ["80", "20", "0", "0", "100"]
    assert ax.get_title() == "Confusion matrix, 86.7 % right (in % of each row)"


def test_it_draws_what_the_metric_returns_on_given_axes():
    figure, (left, right) = pyplot.subplots(1, 2)
    ax = plot_confusion_matrix(confusion_matrix([[0.1], [-1.0], [2.0]], [1, 1, 0]), right)
    assert ax is right
    assert texts(ax) == ["0", "1", "1", "1"]
    assert not left.images
    assert len(figure.axes) == 3  # with that of the colours


def test_long_names_are_slanted():
    names = ["Ankle boot", "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
    ax = plot_confusion_matrix(np.eye(6, dtype=int), class_names=names)
    ax.figure.canvas.draw()
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {45}
    ax = plot_confusion_matrix(np.eye(2), class_names=names[:2])  # here there is room
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {0}


def test_a_single_class_and_an_empty_matrix():
    assert plot_confusion_matrix([[3]]).get_title() == "Confusion matrix, 100.0 % right"
    assert (
        plot_confusion_matrix(np.zeros((2, 2), int)).get_title() == "Confusion matrix, 0.0 % right"
    )


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ShapeError, match=r"confusion_matrix\(prediction, target\), but was given"):
        plot_confusion_matrix([0, 1, 1])
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        plot_confusion_matrix(np.zeros((2, 3)))
    with pytest.raises(OptionError, match="a name for each of the 3 classes"):
        plot_confusion_matrix(COUNTS, class_names="ab")
    with pytest.raises(OptionError, match="normalize must be True or False"):
        plot_confusion_matrix(COUNTS, normalize="true")
    assert pyplot.get_fignums() == []
