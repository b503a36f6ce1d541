"""Small data sets that come with scikit-learn, so nothing is downloaded."""

from __future__ import annotations

from tinynn.data.factory import DataLoaderFactory, RawArrays

__all__ = [
    "BreastCancerDataLoaderFactory",
    "DiabetesDataLoaderFactory",
    "DigitsDataLoaderFactory",
    "IrisDataLoaderFactory",
    "WineDataLoaderFactory",
]

# scikit-learn is imported where it is used, so that `import tinynn.data` does not wait for it.


class IrisDataLoaderFactory(DataLoaderFactory):
    """Load iris: 150 flowers of 3 species, 4 lengths each.

    Parameters and attributes are those of `DataLoaderFactory`.

    References
    ----------
    R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936.

    Examples
    --------
    >>> from tinynn.data import IrisDataLoaderFactory
    >>> data = IrisDataLoaderFactory(batch_size=8)
    >>> data
    <IrisDataLoaderFactory: 90 training, 30 validation and 30 test rows of shape (4,), 3 classes>
    >>> data.class_names
    ('setosa', 'versicolor', 'virginica')
    """

    def arrays(self) -> RawArrays:
        """Return lengths in centimeters, shape (150, 4), and species."""
        from sklearn.datasets import load_iris

        bunch = load_iris()
        return RawArrays(bunch.data, bunch.target, class_names=bunch.target_names.tolist())


class DigitsDataLoaderFactory(DataLoaderFactory):
    """Load digits: 1,797 handwritten digits as images of 8 × 8 pixels.

    Parameters and attributes are those of `DataLoaderFactory`. With ``flatten=False`` the
    `feature_shape` is (1, 8, 8).

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", 1998.

    Examples
    --------
    >>> from tinynn.data import DigitsDataLoaderFactory
    >>> DigitsDataLoaderFactory().feature_shape
    (64,)
    >>> DigitsDataLoaderFactory(flatten=False).feature_shape
    (1, 8, 8)
    """

    def arrays(self) -> RawArrays:
        """Return gray values from 0 to 1, shape (1797, 1, 8, 8), and digits."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return RawArrays(bunch.images[:, None] / 16, bunch.target)


class WineDataLoaderFactory(DataLoaderFactory):
    """Load wine: 178 wines from 3 growers, 13 chemical measurements each.

    Parameters and attributes are those of `DataLoaderFactory`.

    References
    ----------
    S. Aeberhard and M. Forina, "Wine", 1991.

    Examples
    --------
    >>> from tinynn.data import WineDataLoaderFactory
    >>> WineDataLoaderFactory().feature_shape
    (13,)
    """

    def arrays(self) -> RawArrays:
        """Return the measurements in their units, shape (178, 13), and growers."""
        from sklearn.datasets import load_wine

        bunch = load_wine()
        return RawArrays(bunch.data, bunch.target, class_names=bunch.target_names.tolist())


class BreastCancerDataLoaderFactory(DataLoaderFactory):
    """Load breast cancer: 569 tumors, malignant (0) or benign (1), 30 measurements of each.

    Parameters and attributes are those of `DataLoaderFactory`.

    References
    ----------
    W. N. Street, W. H. Wolberg and O. L. Mangasarian, "Nuclear feature extraction for breast tumor
    diagnosis", 1993.

    Examples
    --------
    >>> from tinynn.data import BreastCancerDataLoaderFactory
    >>> BreastCancerDataLoaderFactory().class_names
    ('malignant', 'benign')
    """

    def arrays(self) -> RawArrays:
        """Return the measurements, shape (569, 30), and diagnoses."""
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        return RawArrays(bunch.data, bunch.target, class_names=bunch.target_names.tolist())


class DiabetesDataLoaderFactory(DataLoaderFactory):
    """Load diabetes: the progress of the disease in a year, for 442 patients.

    A regression from 10 measurements each. Parameters and attributes are those of
    `DataLoaderFactory`. The targets, of shape (N, 1), are standardized with the mean and deviation
    of the training rows; ``target_mean + target_scale * prediction`` is in the units of the study,
    25 to 346.

    References
    ----------
    B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, "Least angle regression", 2004.

    Examples
    --------
    >>> from tinynn.data import DiabetesDataLoaderFactory
    >>> data = DiabetesDataLoaderFactory()
    >>> X, y = next(iter(data.test_loader))
    >>> y.shape
    (32, 1)
    >>> raw = data.target_mean + data.target_scale * y
    >>> bool(raw.min() > 24), bool(raw.max() < 347)
    (True, True)
    """

    def arrays(self) -> RawArrays:
        """Return the measurements in their units, shape (442, 10), and the progression."""
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes(scaled=False)
        return RawArrays(bunch.data, bunch.target)
