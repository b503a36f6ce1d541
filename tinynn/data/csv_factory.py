"""Loaders for a table in a CSV file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinynn.core.checks import check_choice, check_flag, check_integer
from tinynn.core.tables import text_table
from tinynn.core.types import Array
from tinynn.data.columns import Format, as_texts, checked_kinds, kind_of, parsed
from tinynn.data.csv_file import CSVFile, nearest, open_csv, pandas_or_error
from tinynn.data.factory import MANY_CLASSES, DataLoaderFactory
from tinynn.data.stream import StreamDataLoader
from tinynn.data.table_encoding import (
    Statistics,
    TableEncoding,
    Target,
    class_indices,
    encoded_target,
)
from tinynn.errors import DataError, OptionError

__all__ = ["CSVDataLoaderFactory"]

SPLITS = ("training", "validation", "test")


class CSVDataLoaderFactory(DataLoaderFactory):
    """Read a table from a CSV file, turn its columns into numbers, split and batch it.

    Needs pandas: ``pip install 'tinynn-numpy[table]'``.

    Parameters
    ----------
    path : path_like or pandas.DataFrame
        A CSV file, which may be compressed; or a table that is in memory.
    target : str
        The name of the column to predict. Rows without a target are left out, and counted in the
        summary.
    columns : list of str or dict of str to str, optional
        The columns to learn from; by default all but the target. A dictionary lays down the kinds
        of some columns, for the others go by their values: "number", "category", "boolean", "date"
        or "leave out". A date is only recognized so.
    task : {"classification", "regression"}, optional
        By default a regression where the target has a fraction or more than 20 different numbers,
        else classes.
    groups : str, optional
        A column, such as a patient: all rows of a group go to one split. It is not learned from,
        unless `columns` names it.
    order : str, optional
        A column to order the rows by, such as a date: the first rows are for training, the last for
        the test. It is not learned from, unless `columns` names it. Without `groups` and `order`,
        splits are stratified.
    delimiter : str, optional
        By default the one of comma, semicolon, tab and bar that is most frequent in the first line.
    decimal : str, default "."
        The decimal point of numbers.
    thousands : str, optional
        The separator of thousands in numbers.
    date_format : str, optional
        How dates are written, such as ``"%d.%m.%Y"``; by default ISO 8601.
    missing_values : sequence of str, default none
        Texts that mean a missing value, besides the empty one, NA, NaN, null and their like.
    encoding : str, optional
        Of the file; by default UTF-8, or UTF-16 where it begins so.
    names : sequence of str, optional
        The names of all columns, for a file whose first line does not hold them.
    max_categories : int, default 50
        How many values of a category get a column of their own; rarer ones share one.
    stream : bool, optional
        Whether to read the file anew in each pass, keeping a chunk of it in memory. By default for
        a file of more than `stream_above` bytes.
    chunk_rows : int, default 50000
        Rows read at a time by a stream.
    **options
        Options of `DataLoaderFactory`: `batch_size`, `validation_fraction`, and so on.

    Attributes
    ----------
    preprocessing : TableEncoding
        What was done to the columns, to be saved with a model.
    feature_names : tuple of str
        One for each number in a row.
    n_left_out : int
        How many rows had no target.
    stream_above : int
        500,000,000. Assign to the class to change it.

    Raises
    ------
    DataError
        If the file is not a table, a column is not there, or a value is not like the others in its
        column. The message names the column and the row.
    OptionError
        If an option is invalid.
    ImportError
        Without pandas.

    Notes
    -----
    What is learned from the columns (means, medians, categories) is learned from the training rows
    alone. Numbers are scaled; a missing one is replaced by the median, and marked in a column of
    its own where training rows have such gaps. `TableEncoding` says what becomes of the other
    kinds, and `summary` of each column.

    A stream decides the kinds of columns by the first chunk, draws the split of each row by itself
    (so classes have their shares of a split only about), replaces missing numbers by the mean, and
    wants a file that is in order already if there is an `order`.

    Examples
    --------
    >>> import pandas
    >>> from tinynn.data import CSVDataLoaderFactory
    >>> table = pandas.DataFrame({"size": range(30, 130), "kind": ["flat", "house"] * 50})
    >>> table["sold"] = ["no"] * 40 + ["yes"] * 60
    >>> CSVDataLoaderFactory(table, target="sold")  # or the path of a file
    <CSVDataLoaderFactory: 60 training, 20 validation and 20 test rows of shape (3,), 2 classes>
    """

    stream_above = 500_000_000

    def __init__(
        self,
        path: Any,
        target: str,
        columns: Any = None,
        *,
        task: str | None = None,
        groups: str | None = None,
        order: str | None = None,
        delimiter: str | None = None,
        decimal: str = ".",
        thousands: str | None = None,
        date_format: str | None = None,
        missing_values: Sequence[str] = (),
        encoding: str | None = None,
        names: Sequence[str] | None = None,
        max_categories: int = 50,
        stream: bool | None = None,
        chunk_rows: int = 50_000,
        **options: Any,
    ) -> None:
        where = self._where = type(self).__name__
        if "flatten" in options:
            raise OptionError(f"{where}: a table is flat already; fix: leave flatten out")
        if task is not None:
            check_choice(where, "task", task, ("classification", "regression"))
        if groups is not None and order is not None:
            raise OptionError(f"{where}: groups and order exclude each other; fix: pass one")
        self._task, self._groups, self._order = task, groups, order
        self._form = Format(decimal, thousands, date_format).checked(where)
        self._max_categories = check_integer(where, "max_categories", max_categories, minimum=1)
        self._chunk_rows = check_integer(where, "chunk_rows", chunk_rows, minimum=2)
        self._reading: dict[str, Any] = {
            "delimiter": delimiter,
            "encoding": encoding,
            "names": None if names is None else [str(name) for name in names],
            "missing_values": missing_values,
        }
        pandas = pandas_or_error(where)
        self._file: CSVFile | None = None
        self._table: Any = None
        if isinstance(path, pandas.DataFrame):
            self._table = path.reset_index(drop=True)
            self._table.columns = [str(name) for name in path.columns]
            known = tuple(self._table.columns)
            if len(set(known)) < len(known) or not len(path):
                what = "two columns of one name" if len(path) else "no row"
                raise DataError(f"{where}: the table has {what}; fix: check how it was made")
            unnamed: tuple[str, ...] = ()
        else:
            self._file = open_csv(where, path, **{**self._reading, "names": names})
            known, unnamed = self._file.columns, self._file.unnamed
        self._reading["missing_values"] = list(missing_values)
        for name, option in ((target, "target"), (groups, "groups"), (order, "order")):
            if name is not None and name not in known:
                raise DataError(
                    f"{where}: there is no column {name!r} to be the {option}; "
                    f"{nearest(name, known)}"
                )
        self._target = target
        self._has_integers = False  # a table has a task instead
        used, self._kinds = checked_kinds(where, columns, known, target)
        listed = set(used) if isinstance(columns, list | tuple) else set(self._kinds)
        self._forced = {name for name, kind in self._kinds.items() if kind != "leave out"}
        self._asked_for = listed
        aside = {
            name: f"left out: it is the {option}"
            for name, option in ((groups, "groups"), (order, "order"))
            if name is not None and name not in listed
        }
        aside |= {name: "left out: it has no name" for name in unnamed if name not in listed}
        aside |= {
            name: "left out: as asked for"
            for name in known
            if name != target and (name not in used or self._kinds.get(name) == "leave out")
        }
        self._aside = aside
        self._used = tuple(name for name in used if name not in aside)
        self._all_columns = known
        if not self._used:
            raise DataError(f"{where}: there is no column to learn from besides {target!r}")
        self._streams = self._decide(stream)
        super().__init__(**options)
        self.feature_names = self._encoding.feature_names
        self._table = None  # the loaders have their own copies

    def _decide(self, stream: bool | None) -> bool:
        if stream is not None:
            stream = check_flag(self._where, "stream", stream)
            if stream and self._file is None:
                raise OptionError(f"{self._where}: stream=True is for a file, not for a DataFrame")
            return stream
        return self._file is not None and self._file.path.stat().st_size > self.stream_above

    def summary(self) -> str:
        """Return a table that says what became of each column.

        Returns
        -------
        str
            A line for each column: its kind, how many features it gives, how many training rows
            lack it, and what was done.

        Examples
        --------
        >>> import pandas
        >>> table = pandas.DataFrame({"size": [30, 80] * 9, "sold": ["no", "yes"] * 9})
        >>> print(CSVDataLoaderFactory(table, target="sold").summary())
        column  kind    features  missing  what became of it
        --------------------------------------------------------------------------
        size    number         1        0  mean 55, deviation 25; later gaps as 55
        sold    target                  0  2 classes: no, yes
        """
        encoding, rows = self._encoding, []
        widths = {name: encoding.width(name) for name in encoding.names}
        for name in self._all_columns:
            if name == self._target:
                missing = str(self.n_left_out)
                rows.append([name, "target", "", missing, self._target_note()])
            elif name in self._aside:
                rows.append([name, "", "0", "", self._aside[name]])
            else:
                kind, note = self._statistics.kinds[name], self._statistics.notes[name]
                missing = str(self._statistics.gaps[name])
                rows.append([name, kind, str(widths.get(name, 0)), missing, note])
        header = ["column", "kind", "features", "missing", "what became of it"]
        return "\n".join(text_table(header, rows, right=(2, 3)))

    def prepare(self, X: Any) -> Array:
        """Convert the rows of a table to the form that the loaders give.

        Parameters
        ----------
        X : pandas.DataFrame, dict of columns, or array_like of shape (N, D)
            As for `TableEncoding.transform`.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            The features.

        Raises
        ------
        DataError
            If a column is not there, or a value is not of its column's kind.

        Examples
        --------
        >>> import pandas
        >>> table = pandas.DataFrame({"size": [30, 80] * 9, "sold": ["no", "yes"] * 9})
        >>> CSVDataLoaderFactory(table, target="sold").prepare({"size": ["80"]})
        array([[1.]], dtype=float32)
        """
        return self._encoding.transform(X)

    # ---- from a table in memory -----------------------------------------------------------

    def _build(self) -> None:
        if self._streams:
            self._build_stream()
            return
        table = self._table if self._file is None else self._file.read()
        kinds = self._kinds_of(table)
        given = as_texts(table[self._target]).notna().to_numpy()
        self.n_left_out = int((~given).sum())
        table = table[given]
        y = self._encoded_targets(table[self._target])
        train, validation, test = self._parts_of(table, y)
        self._statistics = self._new_statistics(kinds, exact=True)
        self._statistics.add(table.iloc[train])
        self._encoding = self._encode()
        if self.n_classes is not None:
            self._check_classes(np.bincount(y[train], minlength=self.n_classes))
        self._finish(
            self._encoding,
            *(
                (self._encoding.transform(table.iloc[rows]), y[rows])
                if len(rows)
                else (np.empty((0, *self._encoding.feature_shape)), y[rows])
                for rows in (train, validation, test)
            ),
        )

    def _kinds_of(self, table: Any) -> dict[str, str]:
        """Return the kinds of the columns to use, and note which are left out by their values."""
        kinds = {}
        for name in self._used:
            kind = self._kinds.get(name) or kind_of(self._where, table[name], self._form)
            reason = ""
            if kind == "empty":
                reason = "no row has a value"
            elif kind == "number":
                numbers = parsed(self._where, table[name], kind, self._form)
                table[name] = numbers  # read once
            if kind == "number" and name not in self._asked_for:
                counts = len(numbers) > MANY_CLASSES and (np.diff(numbers) == 1).all()
                if counts and numbers[0] in (0, 1):
                    reason = "it only counts the rows"
            if reason and name in self._asked_for:
                raise DataError(
                    f"{self._where}: column {name!r} cannot be learned from: {reason}; fix: leave "
                    "it out of columns"
                )
            if reason:
                self._aside[name] = f"left out: {reason}"
            else:
                kinds[name] = kind
        if not kinds:
            reasons = "; ".join(f"{name}: {note}" for name, note in self._aside.items())
            raise DataError(f"{self._where}: no column is left to learn from ({reasons})")
        return kinds

    def _new_statistics(self, kinds: dict[str, str], exact: bool) -> Statistics:
        return Statistics(
            self._where, kinds, self._asked_for, self._form, self._max_categories, exact
        )

    def _encode(self) -> TableEncoding:
        target = Target(self._target, self.class_names)
        return self._statistics.encoding(self._scale, target, self._reading, self._dtype)

    def _encoded_targets(self, series: Any) -> Array:
        """Return the targets as class indices or numbers, and set the names of the classes."""
        if not len(series):
            raise DataError(f"{self._where}: the target {self._target!r} has no value in any row")
        texts, kind = as_texts(series), self._target_kind(series)
        if kind == "number":
            parsed(self._where, series, kind, self._form)  # a mistake is named with its row
        self._set_task(texts.unique(), kind)
        if self.class_names is not None:
            return class_indices(self._where, series, self.class_names)
        return parsed(self._where, series, "number", self._form)[:, None]

    def _target_kind(self, series: Any) -> str:
        if self._task == "regression":
            return "number"
        if self._task == "classification":
            return "category"
        kind = kind_of(self._where, series, self._form)
        return kind if kind == "number" else "category"

    def _set_task(self, labels: Any, kind: str) -> None:
        """Decide between classes and numbers by the different values of the target."""
        self.class_names = self.n_classes = None
        pandas = pandas_or_error(self._where)
        numbers = None
        if kind == "number":
            numbers = parsed(self._where, pandas.Series(labels), "number", self._form)
            if self._task == "regression":
                return
            if len(numbers) > MANY_CLASSES or (numbers != np.round(numbers)).any():
                return
        names = [str(label) for label in labels]
        if numbers is None:
            names = sorted(names)
        else:
            names = [name for _, name in sorted(zip(numbers.tolist(), names, strict=True))]
        if len(names) == 1:
            raise DataError(
                f"{self._where}: all rows of the target {self._target!r} are {names[0]!r}, so "
                "there is nothing to tell apart; fix: give rows of other classes, or another target"
            )
        self.class_names, self.n_classes = tuple(names), len(names)

    def _target_note(self) -> str:
        left_out = f"; {self.n_left_out} rows without one left out" if self.n_left_out else ""
        if self.class_names is None:
            assert self.target_mean is not None
            assert self.target_scale is not None
            mean, scale = self.target_mean[0], self.target_scale[0]
            return f"a number: mean {mean:.4g}, deviation {scale:.4g}{left_out}"
        listed = ", ".join(self.class_names[:6]) + (", ..." if len(self.class_names) > 6 else "")
        return f"{len(self.class_names)} classes: {listed}{left_out}"

    def _check_classes(self, counts: Array) -> None:
        """Refuse training rows without a class, which splits by groups or in order may give."""
        assert self.class_names is not None
        if (counts == 0).any():
            name = self.class_names[int(np.flatnonzero(counts == 0)[0])]
            raise DataError(
                f"{self._where}: no training row is of the class {name!r}; fix: other fractions, "
                "another rng, or more rows"
            )

    def _parts_of(self, table: Any, y: Array) -> tuple[Array, ...]:
        """Return the rows of the three splits: by classes, by groups or in order."""
        fractions = [self._validation_fraction, self._test_fraction(official=False)]
        if self._order is None and self._groups is None:
            return self._split(y, *fractions)
        self._check_fractions(*fractions)
        if self._order is not None:
            keys = self._order_keys(table)
            rows = np.argsort(keys, kind="stable")
            sizes = [max(1, round(f * len(y))) if f else 0 for f in fractions]
            n_train = len(y) - sum(sizes)
            if n_train < 1:
                raise DataError(f"{self._where}: {len(y)} rows are too few to be split")
            return tuple(np.split(rows, [n_train, n_train + sizes[0]]))
        labels = as_texts(table[self._groups])
        if labels.isna().any():
            raise self._no_group(labels)
        _, groups = np.unique(labels.to_numpy(str), return_inverse=True)
        n_splits = 1 + sum(f > 0 for f in fractions)
        if groups.max() + 1 < n_splits:
            raise DataError(
                f"{self._where}: {self._groups!r} has {groups.max() + 1} groups, but each of the "
                f"{n_splits} splits needs one; fix: more groups, or a fraction of 0"
            )
        from sklearn.model_selection import GroupShuffleSplit

        kept, splits = np.arange(len(y)), []
        for i, fraction in enumerate(reversed(fractions)):  # the test rows first
            share = fraction / (1 - fractions[1]) if i else fraction
            if not fraction:
                splits.append(kept[:0])
                continue
            seed = int(self.rng.integers(1 << 31))
            divider = GroupShuffleSplit(1, test_size=share, random_state=seed)
            rest, taken = next(divider.split(kept, groups=groups[kept]))
            splits.append(kept[taken])
            kept = kept[rest]
        return kept, splits[1], splits[0]

    def _order_keys(self, table: Any) -> Array:
        """Return numbers to order the rows by: dates or numbers."""
        assert self._order is not None
        series = table[self._order]
        kind = self._kinds.get(self._order, "")
        if kind not in ("date", "number"):
            is_number = kind_of(self._where, series, self._form) == "number"
            kind = "number" if is_number and self._form.date_format is None else "date"
        keys = parsed(self._where, series, kind, self._form)
        if np.isnan(keys).any():
            row = int(series.index[int(np.flatnonzero(np.isnan(keys))[0])])
            raise DataError(
                f"{self._where}: row {row + 1} below the header has no value in {self._order!r}, "
                "which orders the rows; fix: fill it in, or leave the row out"
            )
        return keys

    # ---- from a file that is read chunk by chunk --------------------------------------------

    def _build_stream(self) -> None:
        fractions = [self._validation_fraction, self._test_fraction(official=False)]
        self._check_fractions(*fractions)
        self._seed = int(self.rng.integers(1 << 31))
        self._survey()
        statistics: Statistics | None = None
        counts = np.zeros(3, np.int64)
        classes = np.zeros(self.n_classes or 1, np.int64)
        targets: list[Array] = []  # for each chunk: rows, sum and sum of squares about the first
        shift = 0.0
        for table, which in self._pieces():
            if statistics is None:
                statistics = self._new_statistics(self._kinds_of(table), exact=False)
            counts += np.bincount(which, minlength=3)
            train = table[which == 0]
            statistics.add(train)
            for name, kind in statistics.kinds.items():  # a mistake in other rows shows now, too
                parsed(self._where, table[name][which != 0], kind, self._form)
            if self.class_names is not None:
                y = class_indices(self._where, train[self._target], self.class_names)
                classes += np.bincount(y, minlength=len(classes))
            else:
                y = parsed(self._where, train[self._target], "number", self._form)
                if not targets and len(y):
                    shift = float(y[0])
                targets.append(np.array([len(y), (y - shift).sum(), ((y - shift) ** 2).sum()]))
        wanted = [True, *(f > 0 for f in fractions)]
        if statistics is None or (counts[wanted] == 0).any():
            raise DataError(
                f"{self._where}: {counts.sum()} rows are too few for {sum(wanted)} splits; fix: "
                "more rows, or a fraction of 0"
            )
        if self.class_names is not None:
            self._check_classes(classes)
        else:
            n, total, squares = np.sum(targets, axis=0)
            deviation = np.sqrt(max(squares / n - (total / n) ** 2, 0.0)) or 1.0
            scaled = self._scale_targets
            self.target_mean = np.array([shift + total / n if scaled else 0.0])
            self.target_scale = np.array([deviation if scaled else 1.0])
        self._statistics = statistics
        self._encoding = self._encode()
        self._encoding.target_mean = self.target_mean
        self._encoding.target_scale = self.target_scale
        self.preprocessing = self._encoding
        self.feature_shape = self._encoding.feature_shape
        loaders: list[Any] = []
        for split, n in enumerate(counts.tolist()):
            loader = StreamDataLoader(
                partial(self._chunks, split),
                self._batch_size,
                shuffle=split == 0,
                rng=self._loader_rng if split == 0 else None,
                transform=self._train_transform if split == 0 else None,
            )
            loader.n_samples = n
            loaders.append(loader if n else None)
        self.train_loader, self.validation_loader, self.test_loader = loaders

    def _survey(self) -> None:
        """Read the target and the order of the whole file: the classes, and how many rows."""
        assert self._file is not None
        pandas = pandas_or_error(self._where)
        columns = list(dict.fromkeys(filter(None, [self._target, self._order])))
        labels: dict[str, None] = {}
        kinds = set()
        self.n_left_out = self._n_rows = 0
        last = -np.inf
        for table in self._file.chunks(self._chunk_rows, columns):
            texts = as_texts(table[self._target])
            given = texts.notna().to_numpy()
            self.n_left_out += int((~given).sum())
            self._n_rows += int(given.sum())
            if not given.any():
                continue
            kind = self._target_kind(table[self._target][given])
            if kind == "number":
                parsed(self._where, table[self._target][given], kind, self._form)
            kinds.add(kind)
            if len(labels) <= MANY_CLASSES or kinds != {"number"}:
                labels |= dict.fromkeys(texts[given].unique())
            if self._order is not None:
                keys = self._order_keys(table[given])
                steps = np.diff(keys, prepend=last)
                if (steps < 0).any():
                    row = int(table[given].index[int(np.flatnonzero(steps < 0)[0])])
                    raise DataError(
                        f"{self._where}: a stream cannot sort, but row {row + 1} below the header "
                        f"comes before the one above it in {self._order!r}; fix: sort the file, or "
                        "pass stream=False"
                    )
                last = keys[-1]
        if not labels:
            raise DataError(f"{self._where}: the target {self._target!r} has no value in any row")
        kind = "number" if kinds == {"number"} else "category"
        self._set_task(pandas.Series(list(labels), dtype=object), kind)

    def _pieces(self) -> Iterator[tuple[Any, Array]]:
        """Yield the chunks of the file, without rows that lack a target, and each row's split."""
        assert self._file is not None
        fractions = np.array([self._validation_fraction, self._test_fraction(official=False)])
        n_seen = 0
        for number, table in enumerate(self._file.chunks(self._chunk_rows)):
            if self._groups is not None:
                at = self._places_of_groups(table)
            else:
                rng = np.random.default_rng([self._seed, number])
                at = rng.random(len(table))
            given = as_texts(table[self._target]).notna().to_numpy()
            table, at = table[given], at[given]
            if self._order is not None:
                at = (n_seen + np.arange(len(table))) / self._n_rows
            n_seen += len(table)
            # Training rows lie below 1 - sum(fractions), test rows above 1 - fractions[1].
            yield table, np.searchsorted(1 - np.cumsum(fractions[::-1])[::-1], at, side="right")

    def _places_of_groups(self, table: Any) -> Array:
        """Return a number from 0 to 1 for each row, the same for all rows of a group."""
        labels = as_texts(table[self._groups])
        if labels.isna().any():
            raise self._no_group(labels)
        key = f"{self._seed}:"
        places = {name: zlib.crc32((key + name).encode()) / 2**32 for name in labels.unique()}
        return labels.map(places).to_numpy(np.float64)

    def _chunks(self, split: int) -> Iterator[tuple[Array, Array]]:
        """Yield features and targets of one split, as the file is read."""
        for table, which in self._pieces():
            rows = table[which == split]
            if len(rows):
                y = encoded_target(self._where, rows[self._target], self._form, self._encoding)
                yield self._encoding.transform(rows), y

    def _no_group(self, labels: Any) -> DataError:
        row = int(labels.index[int(np.flatnonzero(labels.isna())[0])])
        return DataError(
            f"{self._where}: row {row + 1} below the header has no value in the column of the "
            f"groups, {self._groups!r}; fix: fill it in, or leave the row out"
        )
