"""From the columns of a table to the numbers that a network takes, and the targets beside them.

The statistics are those of the training rows alone, and are collected chunk by chunk, so that a
file larger than memory is read like a small one. scikit-learn's transformers do the work; what they
have learned is kept here as plain numbers and texts, from which they are built again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from tinynn.core.checks import check_dtype, shown
from tinynn.core.types import Array
from tinynn.data.columns import Format, as_texts, date_parts, parsed
from tinynn.data.csv_file import nearest, open_csv, pandas_or_error
from tinynn.data.preprocessing import Preprocessing
from tinynn.errors import DataError

__all__ = ["TableEncoding"]

MISSING = "(missing)"
OTHER = "(other)"
# So many different texts are no longer counted: nobody makes a column of each.
TOO_MANY = 10_000
# What the beginning of a date looks like.
DATE = r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"


class Part(NamedTuple):
    """One number that is read from a column, and how it is scaled."""

    name: str
    mean: float
    scale: float
    fill: float
    marked: bool


class Column(NamedTuple):
    """One column of the table that is used: what is read from it."""

    name: str
    kind: str
    parts: tuple[Part, ...] = ()
    categories: tuple[str, ...] = ()


class Target(NamedTuple):
    """The column to predict: its name, and its classes, or None for numbers."""

    name: str
    class_names: tuple[str, ...] | None


class TableEncoding(Preprocessing):
    """Turn the columns of a table into numbers, as `CSVDataLoaderFactory` has learned it.

    A number is scaled by the mean and the standard deviation of the training rows. A category gets
    one column for each of its values, as `sklearn.preprocessing.OneHotEncoder` makes them; a value
    that the training rows did not have is zero in all of them, or counts as ``(other)``, where rare
    values share that column. A boolean is 0 or 1. A date becomes days, and its place in the year,
    the week and the day. A missing number is replaced by a fixed one and, where the training rows
    had such gaps, marked in a column of its own; a missing category is a category.

    `CSVDataLoaderFactory` makes it; `Preprocessing.from_state` reads it back.

    Parameters
    ----------
    columns : sequence of Column
        What is read from each column that is used.
    form : Format
        How numbers and dates are written.
    target : Target
        The column to predict.
    reading : dict
        Options with which `read` opens a file.
    dtype : data type, default numpy.float32
        Of what `transform` returns.

    Attributes
    ----------
    names : tuple of str
        The columns of the table that are used.
    feature_names : tuple of str
        One for each number in a row of `transform`.
    target : str
        The column to predict.
    class_names : tuple of str or None
        The classes; None for a regression.
    transformer : sklearn.compose.ColumnTransformer
        The fitted transformer of the numbers and categories.

    Examples
    --------
    >>> import pandas
    >>> from tinynn.data import CSVDataLoaderFactory
    >>> table = pandas.DataFrame({"size": [30, 80] * 9, "kind": ["flat", "house"] * 9})
    >>> data = CSVDataLoaderFactory(table.assign(sold=["no", "yes"] * 9), target="sold")
    >>> data.preprocessing.feature_names
    ('size', 'kind = flat', 'kind = house')
    >>> data.preprocessing.transform({"size": [80], "kind": ["house"]})
    array([[1., 0., 1.]], dtype=float32)
    """

    kind = "table"

    def __init__(
        self,
        columns: Sequence[Column],
        form: Format,
        target: Target,
        reading: Mapping[str, Any],
        dtype: Any = np.float32,
    ) -> None:
        self._columns = tuple(columns)
        self._form = form.checked("TableEncoding")
        self._reading = dict(reading)
        self.dtype = check_dtype("TableEncoding", dtype)
        self.target, self.class_names = target
        self.names = tuple(column.name for column in self._columns)
        parts = [part for column in self._columns for part in column.parts]
        self.feature_names = (
            *(part.name for part in parts),
            *(f"{part.name} is missing" for part in parts if part.marked),
            *(f"{c.name} = {value}" for c in self._columns for value in c.categories),
        )
        self.feature_shape = (len(self.feature_names),)
        self.transformer = _transformer(self._columns)

    def transform(self, raw: Any) -> Array:
        """Return the rows of a table as the numbers that the model gets.

        Parameters
        ----------
        raw : pandas.DataFrame, dict of columns, or array_like of shape (N, D)
            With a column for each of `names`; an array has these alone, in this order. Other
            columns, such as the target, are left aside. Values may be texts, as in the file.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            A new array of finite numbers.

        Raises
        ------
        DataError
            If a column is not there, or a value is not of its column's kind.
        """
        rows = self.transformer.transform(self._read_columns(self.table(raw)))
        return np.asarray(rows, self.dtype)

    def targets(self, raw: Any) -> Array:
        """Return the targets of a table in the form that the loss gets.

        Parameters
        ----------
        raw : pandas.DataFrame or dict of columns
            With the column `target`.

        Returns
        -------
        numpy.ndarray of int64, shape (N,), or of floats, shape (N, 1)
            Class indices; or scaled numbers for a regression.

        Raises
        ------
        DataError
            If the target is not there, is missing in a row, or is no class of the training rows.
        """
        table = self.table(raw, [self.target])
        return encoded_target("TableEncoding", table[self.target], self._form, self)

    def read(self, path: Any) -> Any:
        """Return a CSV file as a table for `transform`, read with the factory's options.

        Parameters
        ----------
        path : path_like
            A file with the columns of `names`.

        Returns
        -------
        pandas.DataFrame
            Of texts.

        Raises
        ------
        DataError
            If it cannot be read as a table.
        """
        return open_csv("TableEncoding.read", path, **self._reading).read()

    def width(self, name: str) -> int:
        """Return how many numbers a column of the table becomes.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        int
            Marks of gaps are counted too.
        """
        column = self._columns[self.names.index(name)]
        return len(column.parts) + sum(p.marked for p in column.parts) + len(column.categories)

    def table(self, raw: Any, names: Sequence[str] | None = None) -> Any:
        """Return raw rows as a DataFrame, after checking that the columns are there.

        Parameters
        ----------
        raw : pandas.DataFrame, dict of columns, or array_like of shape (N, D)
            As for `transform`.
        names : sequence of str, optional
            The columns to check; by default all that are used.

        Returns
        -------
        pandas.DataFrame
            Those of `raw`.

        Raises
        ------
        DataError
            If one is not there, or there is no row.
        """
        pandas = pandas_or_error("TableEncoding")
        names = self.names if names is None else names
        if isinstance(raw, str | bytes):
            raise DataError(
                f"TableEncoding takes a table, but was given the text {shown(raw)}; fix: "
                "preprocessing.read(path) reads a file"
            )
        try:
            listed = isinstance(raw, list) and len(raw) and isinstance(raw[0], Mapping)
            if isinstance(raw, pandas.DataFrame | Mapping) or listed:
                table = pandas.DataFrame(raw)
            else:
                array = np.asarray(raw, object)
                if array.ndim != 2 or array.shape[1] != len(names):
                    raise DataError(
                        f"TableEncoding: an array must have the {len(names)} columns "
                        f"{', '.join(map(repr, names))}, but has the shape {array.shape}; fix: "
                        "pass a DataFrame, or a dictionary of columns"
                    )
                table = pandas.DataFrame(array, columns=list(names)).infer_objects()
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"TableEncoding takes a table, but this is none: {error}") from None
        for name in names:
            if name not in table.columns:
                raise DataError(
                    f"TableEncoding: the table has no column {name!r}; "
                    f"{nearest(name, table.columns)}"
                )
            if list(table.columns).count(name) > 1:
                raise DataError(
                    f"TableEncoding: the table has several columns {name!r}; fix: rename them"
                )
        if not len(table):
            raise DataError("TableEncoding: the table has no row")
        return table

    def _read_columns(self, table: Any) -> Any:
        """Return a table of floats and texts for the transformer."""
        pandas = pandas_or_error("TableEncoding")
        read: dict[str, Array] = {}
        for column in self._columns:
            values = parsed("TableEncoding", table[column.name], column.kind, self._form)
            if column.kind == "category":
                read[column.name] = _known(values, column.categories)
            elif column.kind == "date":
                parts = date_parts(values)
                read |= {p.name: parts[p.name.removeprefix(f"{column.name}, ")] for p in column[2]}
            else:
                read[column.name] = values
        return pandas.DataFrame(read)

    def _content(self) -> dict[str, Any]:
        return {
            "columns": [
                {
                    "name": column.name,
                    "kind": column.kind,
                    "parts": [part._asdict() for part in column.parts],
                    "categories": list(column.categories),
                }
                for column in self._columns
            ],
            "format": self._form._asdict(),
            "target": self.target,
            "class_names": None if self.class_names is None else list(self.class_names),
            "reading": self._reading,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> Self:
        columns = []
        for entry in content["columns"]:
            parts = []
            for values in entry["parts"]:
                part = Part(**values)
                mean, scale, fill = (float(x) for x in (part.mean, part.scale, part.fill))
                if not np.isfinite([mean, scale, fill]).all() or scale <= 0:
                    raise DataError(f"the scaling of {part.name!r} is {part}")
                parts.append(Part(str(part.name), mean, scale, fill, bool(part.marked)))
            categories = tuple(_text(value) for value in entry["categories"])
            columns.append(
                Column(_text(entry["name"]), _text(entry["kind"]), tuple(parts), categories)
            )
        names = content["class_names"]
        target = Target(
            _text(content["target"]), None if names is None else tuple(_text(n) for n in names)
        )
        return cls(
            columns, Format(**content["format"]), target, content["reading"], content["dtype"]
        )

    def __repr__(self) -> str:
        return f"<TableEncoding: {len(self.names)} columns into {self.feature_shape[0]} numbers>"


# ---- the statistics, chunk by chunk ---------------------------------------------------------


class Statistics:
    """Collect what the training rows are like, chunk by chunk, and make an encoding of it.

    Parameters
    ----------
    where : str
        Who reads, for messages.
    kinds : dict of str to str
        The kind of each column to use; "category" may be one of many texts, which is left out.
    forced : collection of str
        The columns whose kind was laid down: these are never left out.
    form : Format
        How numbers and dates are written.
    max_categories : int
        How many values of a category get a column; the others share one.
    exact : bool
        Whether all rows come in one chunk: then gaps are filled with the median; else the mean.
    """

    def __init__(
        self,
        where: str,
        kinds: dict[str, str],
        forced: Any,
        form: Format,
        max_categories: int,
        exact: bool,
    ) -> None:
        from sklearn.preprocessing import StandardScaler

        self.where, self.kinds, self.forced, self.form = where, kinds, forced, form
        self.max_categories, self.exact = max_categories, exact
        self.n_rows = 0
        self.gaps: Counter[str] = Counter()
        self.texts: dict[str, Counter[str]] = {
            name: Counter() for name, kind in kinds.items() if kind == "category"
        }
        self.scalers: dict[str, Any] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self.medians: dict[str, float] = {}
        self._scaler = StandardScaler
        self.notes: dict[str, str] = {}

    def add(self, table: Any) -> None:
        """Take in some of the training rows."""
        pandas = pandas_or_error(self.where)
        self.n_rows += len(table)
        for name, kind in self.kinds.items():
            values = parsed(self.where, table[name], kind, self.form)
            if kind == "category":
                seen = pandas.Series(values).value_counts()
                self.gaps[name] += len(values) - int(seen.sum())
                counts = self.texts[name]
                if len(counts) <= TOO_MANY or name in self.forced:
                    counts.update(dict(zip(seen.index, seen.tolist(), strict=True)))
                continue
            self.gaps[name] += int(np.isnan(values).sum())
            values = values[~np.isnan(values)]
            parts = {"": values} if kind != "date" else date_parts(values)
            for part, numbers in parts.items():
                self._add_numbers(f"{name}, {part}" if part else name, numbers)

    def _add_numbers(self, name: str, numbers: Array) -> None:
        if not len(numbers):
            return
        low, high = self.ranges.get(name, (np.inf, -np.inf))
        self.ranges[name] = min(low, float(numbers.min())), max(high, float(numbers.max()))
        self.scalers.setdefault(name, self._scaler()).partial_fit(numbers[:, None])
        if self.exact:
            self.medians[name] = float(np.median(numbers))

    def encoding(
        self, scale: bool, target: Target, reading: Mapping[str, Any], dtype: Any
    ) -> TableEncoding:
        """Return the encoding, and leave in `notes` what became of each column."""
        columns = []
        for name, kind in self.kinds.items():
            column = self._category(name) if kind == "category" else self._numbers(name, scale)
            if column is not None:
                columns.append(column)
        if not columns:
            reasons = "; ".join(f"{name}: {note}" for name, note in self.notes.items())
            raise DataError(
                f"{self.where}: no column is left to learn from ({reasons}); fix: name the kinds "
                "of some, columns={'name': 'number'}"
            )
        return TableEncoding(columns, self.form, target, reading, dtype)

    def _left_out(self, name: str, reason: str) -> Column | None:
        """Note that a column gives nothing, or raise a DataError if it was asked for."""
        if name in self.forced:
            raise DataError(
                f"{self.where}: column {name!r} cannot be learned from: {reason}; fix: leave it "
                "out of columns"
            )
        self.notes[name] = f"left out: {reason}"
        return None

    def _category(self, name: str) -> Column | None:
        counts = self.texts[name]
        n_given = self.n_rows - self.gaps[name]
        if not counts:
            return self._left_out(name, "no training row has a value")
        if len(counts) == 1 and not self.gaps[name]:
            return self._left_out(name, f"every training row has {next(iter(counts))!r}")
        limit = self.max_categories
        if name not in self.forced and len(counts) > max(limit, n_given / 2):
            like_dates = all(re.match(DATE, value) for value in list(counts)[:20])
            return self._left_out(
                name,
                f"{len(counts)} different texts in {n_given} rows are no categories"
                + (f"; for dates: columns={{{name!r}: 'date'}}" if like_dates else ""),
            )
        kept = sorted(value for value, _ in counts.most_common(limit))
        n_rare = len(counts) - len(kept)
        missing = [MISSING] if self.gaps[name] else []
        values = tuple(dict.fromkeys([*kept, *missing, *([OTHER] if n_rare else [])]))
        listed = ", ".join(kept[:4]) + (", ..." if len(kept) > 4 else "")
        self.notes[name] = (
            f"one of {len(kept)}: {listed}"
            + (f"; {n_rare} rarer ones as {OTHER}" if n_rare else "")
            + (f"; gaps as {MISSING}" if missing else "")
            + (f"; new ones as {OTHER}" if n_rare else "; new ones as zeros")
        )
        return Column(name, "category", (), values)

    def _numbers(self, name: str, scale: bool) -> Column | None:
        kind = self.kinds[name]
        names = [part for part in self.ranges if part == name or part.startswith(f"{name}, ")]
        names = names if kind == "date" else [part for part in names if part == name]
        marked = bool(self.gaps[name])
        if not names:
            return self._left_out(name, "no training row has a value")
        low, high = self.ranges[names[0]]
        if low == high and not marked:
            return self._left_out(name, f"every training row has {low:.6g}")
        parts = []
        for part in names:
            low, high = self.ranges[part]
            if high == low and part != names[0]:
                continue  # such as the time of day, where the dates have none
            fitted = self.scalers[part]
            mean, deviation = float(fitted.mean_[0]), float(np.sqrt(fitted.var_[0])) or 1.0
            fill = self.medians.get(part, mean)
            if kind == "boolean":
                fill, mean, deviation = float(mean >= 0.5), 0.0, 1.0
            elif part != names[0]:
                fill, mean, deviation = 0.0, 0.0, 1.0  # on a circle, zero is no direction
            elif not scale:
                mean, deviation = 0.0, 1.0
            parts.append(Part(part, mean, deviation, fill, marked and part == names[0]))
        self.notes[name] = self._described(kind, parts, marked)
        return Column(name, kind, tuple(parts))

    def _described(self, kind: str, parts: list[Part], marked: bool) -> str:
        first = parts[0]
        fill = f"{first.fill:.4g}"
        if kind == "boolean":
            text, fill = "0 or 1", str(int(first.fill))
        elif kind == "date":
            text = "days, and the place in " + " and ".join(
                sorted({p.name.rsplit(", ", 2)[1] for p in parts[1:]}, key=("year week day").find)
            )
            text = text if parts[1:] else "days"
            fill = str(np.datetime64("1970-01-01") + int(first.fill))
        else:
            text = f"mean {first.mean:.4g}, deviation {first.scale:.4g}"
        return text + (f"; gaps as {fill}, and marked" if marked else f"; later gaps as {fill}")


# ---- the target -----------------------------------------------------------------------------


def encoded_target(where: str, series: Any, form: Format, encoding: TableEncoding) -> Array:
    """Return a column of targets as class indices, or as scaled numbers of shape (N, 1)."""
    given = as_texts(series).notna().to_numpy()
    if not given.all():
        row = int(np.flatnonzero(~given)[0])
        raise DataError(
            f"{where}: the target {series.name!r} is missing in row {row + 1} below the header; "
            "fix: leave such rows out"
        )
    if encoding.class_names is None:
        numbers = parsed(where, series, "number", form)[:, None]
        assert encoding.target_mean is not None
        scaled = (numbers - encoding.target_mean) / encoding.target_scale
        return np.asarray(scaled, encoding.dtype)
    return class_indices(where, series, encoding.class_names)


def class_indices(where: str, series: Any, class_names: Sequence[str]) -> Array:
    """Return the positions of labels among the names of the classes."""
    places = {name: index for index, name in enumerate(class_names)}
    labels = as_texts(series)
    found = labels.map(places)
    wrong = np.flatnonzero(found.isna().to_numpy())
    if wrong.size:
        label = labels.iloc[wrong[0]]
        raise DataError(
            f"{where}: row {wrong[0] + 1} below the header is of the class {label!r}, which the "
            f"training rows do not have; {nearest(label, class_names)}"
        )
    return found.to_numpy(np.int64)


# ---- scikit-learn's transformers from plain numbers ------------------------------------------


def _transformer(columns: tuple[Column, ...]) -> Any:
    """Return a fitted `ColumnTransformer` that does what the columns say."""
    pandas = pandas_or_error("TableEncoding")
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    parts = [part for column in columns for part in column.parts]
    categories = [column for column in columns if column.categories]
    steps: list[tuple[str, Any, list[str]]] = []
    example: dict[str, Any] = {}
    fills = np.array([[part.fill for part in parts]] * 2)
    for part in parts:
        example[part.name] = [part.fill, np.nan if part.marked else part.fill]
    if parts:
        filling = SimpleImputer(strategy="median", add_indicator=any(p.marked for p in parts))
        steps.append(
            (
                "numbers",
                make_pipeline(StandardScaler(), filling),
                [part.name for part in parts],
            )
        )
    if categories:
        onehot = OneHotEncoder(
            categories=[np.array(column.categories, object) for column in categories],
            handle_unknown="ignore",
            sparse_output=False,
        )
        steps.append(("categories", onehot, [column.name for column in categories]))
        for column in categories:
            example[column.name] = [column.categories[0]] * 2
    table = pandas.DataFrame(example)
    transformer = ColumnTransformer(steps, sparse_threshold=0).fit(table)
    if parts:
        # The scaler has seen two rows of our own making: it takes the statistics from here.
        scaler, filling = transformer.named_transformers_["numbers"]
        scaler.mean_ = np.array([part.mean for part in parts])
        scaler.scale_ = np.array([part.scale for part in parts])
        scaler.var_ = scaler.scale_**2
        gaps = np.array([[False] * len(parts), [part.marked for part in parts]])
        filling.fit(np.where(gaps, np.nan, (fills - scaler.mean_) / scaler.scale_))
    return transformer


def _known(values: Array, categories: tuple[str, ...]) -> Array:
    """Return texts for the encoder: gaps and rare ones by their names."""
    pandas = pandas_or_error("TableEncoding")
    known = set(categories)
    other = OTHER if OTHER in known else ""
    codes, texts = pandas.factorize(values)
    different = np.array([*(t if t in known else other for t in texts), MISSING], object)
    return np.asarray(different[codes])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"a text was expected, but there is {shown(value)}")
    return value
