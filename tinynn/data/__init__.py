"""Data sets, cut into batches: `DataLoader`, and the factories that make three of them at once.

Loaders and networks do not depend on each other: any iterable of pairs (X_batch, y_batch) of NumPy
arrays can train a network, and these loaders can feed any other library.
"""

from tinynn.data.cache import IDXFile, cache_folder
from tinynn.data.csv_factory import CSVDataLoaderFactory
from tinynn.data.encoding import one_hot
from tinynn.data.factory import DataLoaderFactory, RawArrays
from tinynn.data.image_folder import ImageFolderDataLoaderFactory
from tinynn.data.images import ImageEncoding
from tinynn.data.loader import DataLoader
from tinynn.data.mnist import FashionMNISTDataLoaderFactory, MNISTDataLoaderFactory
from tinynn.data.own import ArrayDataLoaderFactory
from tinynn.data.plane import PlaneDataLoaderFactory
from tinynn.data.preprocessing import ArrayScaling, Preprocessing
from tinynn.data.stream import StreamDataLoader
from tinynn.data.table_encoding import TableEncoding
from tinynn.data.tables import (
    BreastCancerDataLoaderFactory,
    DiabetesDataLoaderFactory,
    DigitsDataLoaderFactory,
    IrisDataLoaderFactory,
    WineDataLoaderFactory,
)
from tinynn.data.text import SequenceDataLoader, TextDataLoaderFactory
from tinynn.data.transforms import Compose, RandomFlip, RandomNoise, RandomShift

__all__ = [
    "ArrayDataLoaderFactory",
    "ArrayScaling",
    "BreastCancerDataLoaderFactory",
    "CSVDataLoaderFactory",
    "Compose",
    "DataLoader",
    "DataLoaderFactory",
    "DiabetesDataLoaderFactory",
    "DigitsDataLoaderFactory",
    "FashionMNISTDataLoaderFactory",
    "IDXFile",
    "ImageEncoding",
    "ImageFolderDataLoaderFactory",
    "IrisDataLoaderFactory",
    "MNISTDataLoaderFactory",
    "PlaneDataLoaderFactory",
    "Preprocessing",
    "RandomFlip",
    "RandomNoise",
    "RandomShift",
    "RawArrays",
    "SequenceDataLoader",
    "StreamDataLoader",
    "TableEncoding",
    "TextDataLoaderFactory",
    "WineDataLoaderFactory",
    "cache_folder",
    "one_hot",
]
