"""Read a CSV file into a table of texts, and say in one sentence what is wrong with it."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinynn.core.checks import shown
from tinynn.errors import DataError, OptionError

__all__ = ["CSVFile", "nearest", "pandas_or_error"]

# The separators that are recognized by themselves.
DELIMITERS = ",;\t|"
# The first bytes of files that people take for CSV.
FOREIGN = {
    b"PK\x03\x04": "a zipped file, such as an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "a gzipped file whose name does not end in .gz",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
}
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst")


def pandas_or_error(where: str) -> Any:
    """Return pandas, or raise an ImportError with the command that installs it."""
    try:
        import pandas
    except ImportError:
        raise ImportError(
            f"{where} reads tables with pandas: pip install 'tinynn-numpy[table]'"
        ) from None
    return pandas


def nearest(name: object, known: Iterable[object]) -> str:
    """Return a hint that names what is spelled alike, or else what there is.

    Examples
    --------
    >>> nearest("chrun", ["age", "churn"])
    "did you mean 'churn'?"
    >>> nearest("price", ["age", "churn"])
    'there are age, churn'
    """
    names = [str(value) for value in known]
    by_lower = {value.lower(): value for value in names}
    near = difflib.get_close_matches(str(name).lower().strip(), by_lower, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(repr(by_lower[value]) for value in near)}?"
    return f"there are {', '.join(names[:20])}" + (", ..." if len(names) > 20 else "")


class CSVFile(NamedTuple):
    """Say where a table lies and how it is written; `open_csv` finds the open questions out.

    Attributes
    ----------
    where : str
        Who reads, for messages.
    path : pathlib.Path
        The file.
    columns : tuple of str
        The names of its columns.
    unnamed : tuple of str
        Those for which the file has no name.
    options : dict
        Options of `pandas.read_csv`.
    """

    where: str
    path: Path
    columns: tuple[str, ...]
    unnamed: tuple[str, ...]
    options: dict[str, Any]

    def read(self) -> Any:
        """Return the whole table, all of it texts, with NaN where a value is missing.

        Returns
        -------
        pandas.DataFrame
            With rows numbered from 0.

        Raises
        ------
        DataError
            If it cannot be read, or has no row.
        """
        (table,) = self.chunks(None) or [None]
        return table

    def chunks(self, rows: int | None, columns: list[str] | None = None) -> Iterator[Any]:
        """Yield the table in pieces of so many rows, or in one.

        Parameters
        ----------
        rows : int or None
            How many rows are read at a time.
        columns : list of str, optional
            Read these alone.

        Yields
        ------
        pandas.DataFrame
            The index goes on from piece to piece.

        Raises
        ------
        DataError
            If it cannot be read, or has no row.
        """
        pandas = pandas_or_error(self.where)
        seen = 0
        options = self.options | ({} if rows is None else {"chunksize": rows})
        if columns is not None:
            options |= {"usecols": columns}
        try:
            with warnings.catch_warnings():
                # With a warning, pandas drops what is too much in a line.
                warnings.simplefilter("error", pandas.errors.ParserWarning)
                if rows is None:
                    table = pandas.read_csv(self.path, **options)
                    seen = len(table)
                    if seen:
                        yield table
                else:
                    with pandas.read_csv(self.path, **options) as pieces:
                        for piece in pieces:
                            seen += len(piece)
                            yield piece
        except UnicodeDecodeError as error:
            raise self._not_in(error) from None
        except (
            pandas.errors.ParserError,
            pandas.errors.EmptyDataError,
            pandas.errors.ParserWarning,
        ) as error:
            reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
            raise DataError(
                f"{self.where}: {self.path} is not a table: {reason}; fix: correct that line, or "
                "set delimiter to what separates the columns"
            ) from None
        if not seen:
            raise DataError(
                f"{self.where}: {self.path} has names of columns, but no row below them; fix: "
                "check how it was written"
            )

    def _not_in(self, error: UnicodeDecodeError) -> DataError:
        encoding = str(self.options["encoding"]).removesuffix("-sig")
        return DataError(
            f"{self.where}: {self.path} is not in the encoding {encoding} (byte "
            f"0x{error.object[error.start]:02x} does not belong); fix: "
            "encoding='cp1252' for what Excel writes in Western Europe, or the encoding it has"
        )


def open_csv(
    where: str,
    path: object,
    delimiter: str | None = None,
    encoding: str | None = None,
    names: Sequence[str] | None = None,
    missing_values: Sequence[str] = (),
) -> CSVFile:
    """Look at the beginning of a file, and return how to read it, or raise a DataError."""
    pandas = pandas_or_error(where)
    place = _existing(where, path)
    if encoding is None:
        encoding = _encoding(where, place)
    if isinstance(missing_values, str) or not all(isinstance(v, str) for v in missing_values):
        raise OptionError(
            f"{where}: missing_values must be a list of texts, such as ['?', '-'], but is "
            f"{shown(missing_values)}"
        )
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
        raise OptionError(
            f"{where}: delimiter must be one character, such as ';', but is {shown(delimiter)}"
        )
    options: dict[str, Any] = {
        "dtype": str,
        "encoding": encoding,
        "skipinitialspace": True,
        "na_values": list(missing_values),
        "sep": delimiter or ",",
        "index_col": False,
        "header": None,
    }
    file = CSVFile(where, place, (), (), options)
    try:
        first = _first_line(pandas, place, encoding)
    except UnicodeDecodeError as error:
        raise file._not_in(error) from None
    except LookupError:
        raise OptionError(f"{where}: there is no encoding {encoding!r}") from None
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{where}: {place} cannot be read: {error}") from None
    if delimiter is None:
        options["sep"] = max(DELIMITERS, key=first.count)
    try:
        head = pandas.read_csv(place, nrows=1, **options)
    except UnicodeDecodeError as error:
        raise file._not_in(error) from None
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
        raise DataError(
            f"{where}: {place} does not begin as a table: {error}; fix: write the names of the "
            "columns into the first line"
        ) from None
    cells = list(head.iloc[0])
    if names is None:
        columns, unnamed = _header(where, place, cells)
        header: int | None = 0
    else:
        columns, unnamed, header = [str(name) for name in names], [], None
        if isinstance(names, str) or len(columns) != len(cells):
            raise OptionError(
                f"{where}: names must be one for each of the {len(cells)} columns of {place}, but "
                f"is {shown(names)}"
            )
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise DataError(
            f"{where}: {place} has two columns of the name {twice!r}; fix: rename one, or pass "
            "names=[...] for all"
        )
    options |= {"header": header, "names": columns}
    return file._replace(columns=tuple(columns), unnamed=tuple(unnamed))


def _existing(where: str, path: object) -> Path:
    """Return the path of a file that is there and not empty."""
    if not isinstance(path, str | os.PathLike):
        raise OptionError(
            f"{where}: path must be the name of a file, such as 'data.csv', but is {shown(path)}; "
            "fix: for arrays use ArrayDataLoaderFactory(X, y)"
        )
    place = Path(path).expanduser()
    if place.is_dir():
        raise DataError(
            f"{where}: {place} is a folder, and no CSV file; fix: name one file in it, or use "
            "ImageFolderDataLoaderFactory for pictures"
        )
    if not place.exists():
        folder = place.parent
        names = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
        hint = nearest(place.name, names) if names else f"there is no folder {folder}"
        raise DataError(f"{where}: there is no file {place}; {hint}")
    if place.is_file() and place.stat().st_size == 0:
        raise DataError(f"{where}: {place} is empty, 0 bytes; fix: check how it was written")
    return place


def _encoding(where: str, place: Path) -> str:
    """Return the encoding that the first bytes show, and refuse what is no text at all."""
    try:
        with place.open("rb") as stream:
            head = stream.read(1 << 16)
    except OSError as error:
        raise DataError(f"{where}: {place} cannot be read: {error.strerror}") from None
    if place.suffix.lower() in COMPRESSED:
        return "utf-8-sig"
    for begin, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(begin):
            return encoding
    kind = next((kind for begin, kind in FOREIGN.items() if head.startswith(begin)), None)
    controls = sum(head.count(byte) for byte in range(9))
    if kind or controls:
        raise DataError(
            f"{where}: {place} is not a text file, but {kind or 'binary'}; fix: save the table as "
            "CSV in UTF-8"
        )
    return "utf-8-sig"


def _first_line(pandas: Any, place: Path, encoding: str) -> str:
    """Return the first line that is not empty."""
    with pandas.io.common.get_handle(
        place, "r", encoding=encoding, compression="infer", errors="strict"
    ) as handles:
        return next((line for line in handles.handle if line.strip()), "")


def _header(where: str, place: Path, cells: list[Any]) -> tuple[list[str], list[str]]:
    """Return the names in the first line, and which of them we have made up."""
    columns, unnamed = [], []
    for number, cell in enumerate(cells):
        name = cell.strip() if isinstance(cell, str) else ""
        if not name:
            name = f"column {number}"
            unnamed.append(name)
        columns.append(name)
    if all(_is_number(name) for name in columns):
        raise DataError(
            f"{where}: the first line of {place} holds numbers, not the names of the columns; fix: "
            "write names there, or pass names=[...], one for each column"
        )
    return columns, unnamed


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
