"""MNIST, and its harder replacement, Fashion-MNIST."""

from __future__ import annotations

from typing import Any

from tinynn.data.cache import IDXFile, load_idx_files
from tinynn.data.factory import DataLoaderFactory, RawArrays
from tinynn.random import RNG

__all__ = ["FashionMNISTDataLoaderFactory", "MNISTDataLoaderFactory"]


class MNISTDataLoaderFactory(DataLoaderFactory):
    """Load MNIST: 70,000 handwritten digits of 28 × 28 pixels, 10,000 of them for testing.

    The files, about 12 MB, are downloaded once and kept in the folder ``mnist`` of `cache_folder`.
    To supply them yourself, put the four files there, zipped or not, or set the environment
    variable ``TINYNN_DATA`` to a folder that holds them, or holds a folder ``mnist`` that does.

    Parameters
    ----------
    batch_size : int, default 32
        Rows in a batch.
    validation_fraction : float, default 0.1
        Fraction of the other 60,000 images held out for validation.
    flatten : bool, default True
        Whether a sample has the shape (784,), or (1, 28, 28).
    rng : numpy.random.Generator, int or None, default 0
        Draws the split and the orders of the training batches.
    **options
        Other options of `DataLoaderFactory`. Without scaling, pixels are from 0 to 1.

    Attributes
    ----------
    hosts : tuple of str or None
        Hosts to download from, in this order: addresses to which a file name is appended. None is
        the default host of mnist_datasets. A subclass may name others.
    timeout : float
        Seconds of silence after which the next host is tried; 30. A whole file may take 60 times
        as long. Assign to the class to change it.
    files : tuple of IDXFile
        Training images and labels, test images and labels.

    Raises
    ------
    DataError
        If a file is not in the cache and no host has it.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
    recognition", 1998.

    Examples
    --------
    >>> from tinynn.data import MNISTDataLoaderFactory
    >>> MNISTDataLoaderFactory(batch_size=64)  # doctest: +SKIP
    <MNISTDataLoaderFactory: 54000 training, 6000 validation and 10000 test rows of shape (784,), \
10 classes>
    """

    hosts: tuple[str | None, ...] = (
        None,
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    timeout: float = 30.0
    files: tuple[IDXFile, ...] = (
        IDXFile(
            "train-images-idx3-ubyte.gz",
            (60000, 28, 28),
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        IDXFile(
            "train-labels-idx1-ubyte.gz",
            (60000,),
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        IDXFile(
            "t10k-images-idx3-ubyte.gz",
            (10000, 28, 28),
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        IDXFile(
            "t10k-labels-idx1-ubyte.gz",
            (10000,),
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    )
    _names: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    _folder = "mnist"
    _dataset_type = "default"

    def __init__(
        self,
        batch_size: int = 32,
        validation_fraction: float = 0.1,
        flatten: bool = True,
        rng: RNG = 0,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, validation_fraction, flatten, rng, **options)

    def arrays(self) -> RawArrays:
        """Return images as uint8 of shape (N, 1, 28, 28) and their classes, with the test set."""
        X, y, X_test, y_test = load_idx_files(
            self.files,
            self._folder,
            self._dataset_type,
            self.hosts,
            type(self).__name__,
            self.timeout,
        )
        return RawArrays(X[:, None], y, X_test[:, None], y_test, self._names)


class FashionMNISTDataLoaderFactory(MNISTDataLoaderFactory):
    """Load Fashion-MNIST: 70,000 articles of clothing in the format of MNIST, but harder.

    Parameters and attributes are those of `MNISTDataLoaderFactory`; the files, about 30 MB, are
    kept in ``fashion-mnist``.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms", 2017.

    Examples
    --------
    >>> from tinynn.data import FashionMNISTDataLoaderFactory
    >>> FashionMNISTDataLoaderFactory().class_names[:3]  # doctest: +SKIP
    ('T-shirt/top', 'Trouser', 'Pullover')
    """

    hosts = (
        None,
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    files = (
        IDXFile(
            "train-images-idx3-ubyte.gz", (60000, 28, 28), "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"
        ),
        IDXFile("train-labels-idx1-ubyte.gz", (60000,), "md5:25c81989df183df01b3e8a0aad5dffbe"),
        IDXFile(
            "t10k-images-idx3-ubyte.gz", (10000, 28, 28), "md5:bef4ecab320f06d8554ea6380940ec79"
        ),
        IDXFile("t10k-labels-idx1-ubyte.gz", (10000,), "md5:bb300cfdad3c16e7a12a480ee83cd310"),
    )
    _names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    _folder = "fashion-mnist"
    _dataset_type = "fashion"
