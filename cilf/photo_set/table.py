"""The table of a photo set: a row for every face, and a row for every file in which none was measured."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilf.errors import UsageError
from cilf.photo_set.results import COLUMNS, INTEGER_COLUMNS, TEXT_COLUMNS, Row

if TYPE_CHECKING:
    import pyarrow


def check_output(output: str | Path) -> Path:
    """Make sure that a table can be written to `output`, before any work is done for it.

    Raises:
        UsageError: the suffix is not one of .csv, .json and .parquet, the folder does not exist or may not be
            written to, or `output` is itself a folder.
    """
    output = Path(output)
    if output.suffix.lower() not in _WRITERS:
        raise UsageError(
            f"'{output}' does not end in {' or '.join(_WRITERS)}; give the table one of these suffixes"
        )
    if output.is_dir():
        raise UsageError(f"'{output}' is a folder; give the name of a file for the table")
    if not output.parent.is_dir():
        raise UsageError(f"the folder '{output.parent}' for the table does not exist; create it first")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(
            f"the folder '{output.parent}' may not be written to; choose another one for the table"
        )
    return output


def partial_path(output: Path) -> Path:
    """Where the rows of a table stand until it is complete: in its folder, `ages.csv` in `ages.partial.csv`."""
    return output.with_suffix(f".partial{output.suffix}")


def write_table(rows: Iterable[Row], output: str | Path, columns: Sequence[str] = COLUMNS) -> int:
    """Write rows as they come to a .csv, .json or .parquet file.

    The file appears under its name when it is complete, in one step, so an older table is replaced by a whole
    one or not at all. If `rows` breaks off (an exception, Ctrl-C), the rows so far stay, as a well-formed
    table, in `partial_path(output)`.

    CSV is RFC 4180 in UTF-8 with ages to four decimals; JSON is a list of records, what is unknown null;
    Parquet has nullable types, which pandas reads back as Int64, Float64 and string. Bytes of a file's name
    that are not UTF-8 are written in ASCII as Python shows them (`\\udcff`): as they are, one would make the
    whole table unreadable to others.

    Args:
        rows: of photos (`cilf.photo_set.pipeline`), perhaps with further columns.
        output: the file.
        columns: `COLUMNS`, and any further ones that rows may have; those hold numbers, but for the `TEXT_COLUMNS`.

    Returns:
        The number of rows.

    Raises:
        UsageError: the output cannot be written (see `check_output`), or the disk is full.
    """
    output = check_output(output)
    partial = partial_path(output)
    count = 0
    names = [_as_text(column) for column in columns]
    try:
        with _WRITERS[output.suffix.lower()](partial, names) as write:
            for row in rows:
                write(plain_row(row, columns))
                count += 1
        partial.replace(output)
    except OSError as error:
        raise UsageError(f"the table '{output}' cannot be written ({error}); check the disk") from error
    finally:
        if not count:
            partial.unlink(missing_ok=True)
    return count


def plain_row(row: Row, columns: Sequence[str] = COLUMNS) -> Row:
    """A row's columns as every format can hold them: bytes of names and prompts that are not UTF-8 in ASCII."""
    return {_as_text(column): _as_text(row.get(column)) for column in columns}


def _as_text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


RowWriter = Callable[[Row], None]


@contextmanager
def _write_csv(path: Path, columns: Sequence[str]) -> Iterator[RowWriter]:
    # Line-buffered, like JSON below, so that finished rows are on the disk even if the process is killed.
    with path.open("w", encoding="utf-8", newline="", buffering=1) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        yield lambda row: writer.writerow(map(_csv_cell, row, row.values()))


def _csv_cell(column: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # A hundredth of a pixel; four decimals of a year or a score are finer than any use of them.
    return f"{value:.{2 if column in ('x0', 'y0', 'x1', 'y1') else 4}f}"


@contextmanager
def _write_json(path: Path, columns: Sequence[str]) -> Iterator[RowWriter]:
    with path.open("w", encoding="utf-8", newline="", buffering=1) as file:
        before = "[\n"

        def write(row: Row) -> None:
            nonlocal before
            file.write(before + json.dumps(row, ensure_ascii=False))
            before = ",\n"

        try:
            yield write
        finally:
            file.write("\n]\n" if before == ",\n" else "[]\n")


# A row group is what a reader loads at once; this many of our rows are about half a megabyte.
_PARQUET_GROUP = 4096


def parquet_schema(columns: Sequence[str] = COLUMNS) -> "pyarrow.Schema":
    """Columns and types of a table in Parquet."""
    import pandas
    import pyarrow

    kinds = dict.fromkeys(columns, "Float64")
    kinds |= {column: "string" for column in columns if column in TEXT_COLUMNS}
    kinds |= {column: "Int64" for column in columns if column in INTEGER_COLUMNS}
    # Through pandas, because the schema then carries the notes from which pandas restores its nullable types.
    empty = pandas.DataFrame({column: pandas.array([], dtype=kind) for column, kind in kinds.items()})
    return pyarrow.Schema.from_pandas(empty, preserve_index=False)


@contextmanager
def _write_parquet(path: Path, columns: Sequence[str]) -> Iterator[RowWriter]:
    import pyarrow
    from pyarrow import parquet

    schema = parquet_schema(columns)
    group: list[Row] = []

    with parquet.ParquetWriter(path, schema) as file:

        def flush() -> None:
            file.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            group.clear()

        def write(row: Row) -> None:
            group.append(row)
            if len(group) == _PARQUET_GROUP:
                flush()

        try:
            yield write
        finally:
            if group:
                flush()


_WRITERS: dict[str, Callable[[Path, Sequence[str]], AbstractContextManager[RowWriter]]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".parquet": _write_parquet,
}
