"""The columns of a table: what kind each is, and the numbers that are read from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinynn.core.checks import check_choice, shown
from tinynn.core.types import Array
from tinynn.data.csv_file import nearest, pandas_or_error
from tinynn.errors import DataError, OptionError

__all__ = ["KINDS", "Format", "checked_kinds", "kind_of", "parsed"]

KINDS = ("number", "category", "boolean", "date", "leave out")
TRUE = ("true", "yes", "y", "t", "1", "1.0")
FALSE = ("false", "no", "n", "f", "0", "0.0")
# If so many of the texts in a column are numbers, the others are mistakes.
MOSTLY = 0.8
# Beyond this, float32 has no numbers, and float64 none for squares.
LARGEST = 1e38
# So many values show what a column is not.
SOME = 10_000
# What a date becomes: days since 1970, and its place in the year, the week and the day on a circle.
CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}


class Format(NamedTuple):
    """Say how numbers and dates are written.

    Attributes
    ----------
    decimal : str
        The decimal point.
    thousands : str or None
        The separator of thousands.
    date_format : str or None
        As `datetime.datetime.strptime` takes it; None for ISO 8601.
    """

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None

    def checked(self, where: str) -> Format:
        """Return itself, or raise an OptionError.

        Parameters
        ----------
        where : str
            Who asks, for messages.

        Returns
        -------
        Format
            Itself.

        Raises
        ------
        OptionError
            If one is not as described.
        """
        for name, value in (("decimal", self.decimal), ("thousands", self.thousands)):
            if not (isinstance(value, str) and len(value) == 1) and (name, value) != (
                "thousands",
                None,
            ):
                raise OptionError(
                    f"{where}: {name} must be one character, such as ',', but is {shown(value)}"
                )
        if self.decimal == self.thousands:
            raise OptionError(
                f"{where}: decimal and thousands must differ, but both are {self.decimal!r}"
            )
        if self.date_format is not None and not isinstance(self.date_format, str):
            raise OptionError(
                f"{where}: date_format must be a text such as '%d.%m.%Y', but is "
                f"{shown(self.date_format)}"
            )
        return self


def checked_kinds(
    where: str, columns: Any, known: tuple[str, ...], target: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the columns to use, and the kinds that are laid down, from the option `columns`."""
    features = tuple(name for name in known if name != target)
    if columns is None:
        return features, {}
    if isinstance(columns, str) or not hasattr(columns, "__iter__"):
        raise OptionError(
            f"{where}: columns must be a list of names, or a dictionary from names to kinds, but "
            f"is {shown(columns)}"
        )
    listed = [str(name) for name in columns]
    for name in listed:
        if name not in known:
            raise DataError(f"{where}: there is no column {name!r}; {nearest(name, features)}")
    if target in listed:
        raise OptionError(
            f"{where}: columns must not have the target, {target!r}: a network would read the "
            "answer there; fix: leave it out"
        )
    if not isinstance(columns, dict):
        if not listed:
            raise OptionError(f"{where}: columns must name one column at least; fix: columns=None")
        return tuple(dict.fromkeys(listed)), {}
    kinds = {
        str(name): check_choice(where, f"columns[{name!r}]", kind, KINDS)
        for name, kind in columns.items()
    }
    return features, kinds


def as_texts(series: Any) -> Any:
    """Return the values of a column as stripped texts, with NaN where one is missing."""
    pandas = pandas_or_error("a table")
    # Every different value once: columns of categories have few.
    codes, values = pandas.factorize(series)
    texts = [_text(value) for value in values]
    different = np.array([*(text or np.nan for text in texts), np.nan], object)
    return pandas.Series(different[codes], index=series.index, name=series.name, dtype=object)


def _text(value: Any) -> str:
    """Return a value as text: 3 is 3 in a column of floats, too, which has 3.0 for it."""
    if isinstance(value, float | np.floating):
        number = float(value)
        if abs(number) < 2**53 and number == round(number):
            value = int(number)
    return str(value).strip()


def kind_of(where: str, series: Any, form: Format) -> str:
    """Return the kind of a column by its values, or raise a DataError where these are mixed.

    Returns
    -------
    str
        One of `KINDS`, without "leave out"; "empty" where no row has a value.
    """
    values = series.dropna()
    if not len(values):
        return "empty"
    if values.dtype.kind in "iuf":
        return "number"
    if values.dtype.kind == "b":
        return "boolean"
    if values.dtype.kind == "M":
        return "date"
    some = np.isfinite(_as_numbers(values.iloc[:SOME], form))
    if some.all() and np.isfinite(_as_numbers(values, form)).all():
        return "number"
    texts = as_texts(values).dropna()
    if not len(texts):
        return "empty"
    if {text.lower() for text in texts.unique()} <= {*TRUE[:4], *FALSE[:4]}:
        return "boolean"
    if len(values) > SOME and not some.any():
        texts = texts.iloc[:SOME]  # enough to see whether they are numbers in another form
    numbers = _as_numbers(texts, form)
    if np.isfinite(numbers).all():
        return "number"
    share = np.isfinite(numbers).mean()
    other, fix = _other_form(texts, form)
    if share >= MOSTLY or other:
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DataError(
            f"{where}: column {series.name!r} holds numbers, but {_place(texts, row)} has "
            f"{texts.iloc[row]!r}; fix: "
            + (fix or f"correct it, or pass missing_values=[{texts.iloc[row]!r}] if it says that")
            + ("" if fix else " nothing is known")
            + f", or columns={{{series.name!r}: 'category'}} if these are names"
        )
    return "category"


def parsed(where: str, series: Any, kind: str, form: Format) -> Array:
    """Return a column as floats, or as texts for a category; NaN where a value is missing."""
    if kind == "category":
        return np.asarray(as_texts(series), object)
    if kind == "boolean":
        return _as_booleans(where, series)
    if kind == "date":
        return _as_days(where, series, form)
    if series.dtype.kind in "biuf":
        numbers = series.to_numpy(np.float64, na_value=np.nan)
    else:
        numbers = _as_numbers(series, form)
    wrong = np.flatnonzero(series.notna().to_numpy() & ~(np.abs(numbers) <= LARGEST))
    if wrong.size and series.dtype.kind not in "biuf" and np.isnan(numbers[wrong]).any():
        texts = as_texts(series.iloc[wrong])  # some may be empty
        wrong = wrong[texts.notna().to_numpy()]
    if wrong.size:
        raise DataError(
            f"{where}: column {series.name!r} holds numbers, but {_place(series, wrong[0])} has "
            f"{shown(series.iloc[wrong[0]])}; fix: correct it, leave it empty if nothing is known, "
            f"or take the column as a category: columns={{{series.name!r}: 'category'}}"
        )
    return numbers


def date_parts(days: Array) -> dict[str, Array]:
    """Return the numbers that stand for dates, given in days since 1970, by name."""
    parts = {"days": days}
    for name, length in CYCLES.items():
        angle = 2 * np.pi * (days % length) / length
        parts |= {f"{name}, sine": np.sin(angle), f"{name}, cosine": np.cos(angle)}
    return parts


def _as_numbers(texts: Any, form: Format) -> Array:
    """Return texts as floats; NaN for what is no number."""
    pandas = pandas_or_error("a table")
    if form.thousands or form.decimal != ".":
        texts = as_texts(texts)
        if not texts.notna().any():
            return np.full(len(texts), np.nan)
    if form.thousands:
        texts = texts.str.replace(form.thousands, "", regex=False)
    if form.decimal != ".":
        # A point that is not the decimal one would be taken for it.
        texts = texts.mask(texts.str.contains(".", regex=False, na=False), "?")
        texts = texts.str.replace(form.decimal, ".", regex=False)
    numbers = pandas.to_numeric(texts, errors="coerce")
    return np.asarray(numbers.to_numpy(np.float64, na_value=np.nan))


def _other_form(texts: Any, form: Format) -> tuple[bool, str]:
    """Return whether texts are numbers in another form, and the options for it."""
    other = Format(",", "." if form.decimal == "." else None)
    if form.decimal == "," or not texts.str.contains(",", regex=False).any():
        return False, ""
    grouped = texts.str.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d+(\.\d+)?").all()
    if grouped and form.thousands is None:
        return True, "pass thousands=','" + (
            " (or decimal=',' if 1,234 means one and a bit)"
            if not texts.str.contains(".", regex=False).any()
            else ""
        )
    if np.isfinite(_as_numbers(texts, other)).all():
        points = texts.str.contains(".", regex=False).any()
        return True, "pass decimal=','" + (" and thousands='.'" if points else "")
    return False, ""


def _as_booleans(where: str, series: Any) -> Array:
    """Return 0 and 1, and NaN where nothing is known."""
    texts = as_texts(series)
    lower = texts.str.lower() if texts.notna().any() else texts
    result = np.full(len(series), np.nan)
    result[lower.isin(TRUE)] = 1
    result[lower.isin(FALSE)] = 0
    wrong = np.flatnonzero(texts.notna().to_numpy() & np.isnan(result))
    if wrong.size:
        raise DataError(
            f"{where}: column {series.name!r} holds yes and no, or true and false, but "
            f"{_place(texts, wrong[0])} has {texts.iloc[wrong[0]]!r}; fix: correct it, leave it "
            f"empty, or take the column as a category: columns={{{series.name!r}: 'category'}}"
        )
    return result


def _as_days(where: str, series: Any, form: Format) -> Array:
    """Return days since 1970, and NaN where nothing is known."""
    pandas = pandas_or_error("a table")
    texts = series if series.dtype.kind == "M" else as_texts(series)
    try:
        dates = pandas.to_datetime(
            texts, format=form.date_format or "ISO8601", errors="coerce", utc=True
        )
    except ValueError as error:  # a format that is none
        raise OptionError(f"{where}: date_format {form.date_format!r}: {error}") from None
    wrong = np.flatnonzero((texts.notna() & dates.isna()).to_numpy())
    if wrong.size:
        expected = form.date_format or "2024-05-31"
        raise DataError(
            f"{where}: column {series.name!r} holds dates as {expected}, but "
            f"{_place(texts, wrong[0])} has {shown(texts.iloc[wrong[0]])}; fix: correct it, leave "
            "it empty, or pass date_format, such as '%d.%m.%Y'"
        )
    days = (dates - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
    return np.asarray(days, np.float64)


def _place(series: Any, row: int) -> str:
    """Say which row it is: as people count them below the header, where the index counts rows."""
    label = series.index[row]
    return (
        f"row {label + 1} below the header"
        if isinstance(label, int | np.integer)
        else f"row {label!r}"
    )
