"""Many photos into one table: a row for every face, and a row for every file in which none was measured.

Rows flow one by one from the photo to the table, so memory holds one photo however many there are.
"""

import csv
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from cilf.errors import CilfError, PhotoError, UsageError
from cilf.prediction import FacePrediction, NoFace

log = logging.getLogger(__name__)

Row = dict[str, Any]

COLUMNS = (
    "path",
    "face",
    "x0",
    "y0",
    "x1",
    "y1",
    "detection_score",
    "age",
    "age_low",
    "age_high",
    "initial_age",
    "iterations",
    "status",
    "error",
)

TEXT_COLUMNS = frozenset({"path", "status", "error", "scored_by"})

# Only these are read from a folder, so that notes and films among the photos give no rows; a file that is named itself
# is always tried, whatever its name.
PHOTO_SUFFIXES = frozenset(
    ".avif .bmp .gif .heic .heif .hif .jfif .jpe .jpeg .jpg .png .tif .tiff .webp".split()
)


@runtime_checkable
class Predictor(Protocol):
    """What a photo set needs of `cilf.AgeEstimator`."""

    def predict(
        self, photo: Any, prompts: Sequence[str] | None = None, *, no_face: NoFace
    ) -> list[FacePrediction]:
        """Predict every face of one photo, left to right; an empty list where there is none."""


class PhotoResult(NamedTuple):
    """What a photo gave: its faces, left to right, and its rows: one per face, or one that says why there is none."""

    faces: tuple[FacePrediction, ...]
    rows: tuple[Row, ...]


def find_photos(paths: str | Path | Sequence[str | Path]) -> Iterator[tuple[str, Path]]:
    """List the photos behind files and folders.

    Folders are walked in the order of their entries' names. Hidden entries (name with a leading dot) and
    links to folders inside a folder are passed over: the first are thumbnails and bins of other programs, the
    second can form a ring. A folder that may not be listed stands for itself, so that it gives a row with its
    error and is not lost in silence.

    Args:
        paths: files, taken as they are, existing or not; and folders. A single one may stand without a list.

    Yields:
        (name, path): the name to show, which is the path as given or the given folder plus the relative path;
        and the path to open.
    """
    for path in [paths] if isinstance(paths, str | Path) else paths:
        name = os.fspath(path)
        if os.path.isdir(name):  # noqa: PTH112 - `Path` raises where a parent may not be searched
            yield from ((file, Path(file)) for file in _walk(name))
        else:
            yield name, Path(name)


def _walk(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # Not `entry.is_dir()`, which raises on a link that points at itself.
        is_folder = os.path.isdir(entry.path)  # noqa: PTH112
        if is_folder and not entry.is_symlink():
            yield from _walk(entry.path)
        elif not is_folder and Path(entry.name).suffix.lower() in PHOTO_SUFFIXES:
            yield entry.path


def predict_paths(
    estimator: Predictor, paths: str | Path | Sequence[str | Path], *, no_face: NoFace = "skip"
) -> Iterator[Row]:
    """Find the photos behind `paths` as `find_photos` does, and give the rows of `predict_photos`."""
    results = predict_photos(estimator, find_photos(paths), no_face=no_face)
    return chain.from_iterable(result.rows for result in results)


def predict_photos(
    estimator: Predictor,
    photos: Iterable[tuple[str, Any]],
    prompts: Sequence[str] | None = None,
    *,
    no_face: NoFace = "skip",
) -> Iterator[PhotoResult]:
    """Predict photo after photo; one bad file does not stop the others.

    Args:
        estimator: `cilf.AgeEstimator`, or anything with its `predict`.
        photos: (name, path) of each file, as from `find_photos`; or (name, anything that the estimator takes), or
            (name, a function without arguments that gives it), called when the photo's turn comes.
        prompts: texts to compare with each face.
        no_face: what to do with a photo without a face: `skip` gives a row with the status `no_face`; `whole`
            takes the whole picture as the face.

    Yields:
        The faces and rows of each photo. Rows have the keys `COLUMNS`. Numbers are plain and unrounded: box in pixels
        of the upright photo, ages in years. What a row does not know is None.

    Raises:
        CilfError: the detector or the weights fail, which no other photo would survive either.
    """
    for name, photo in photos:
        try:
            picture = photo() if callable(photo) else photo
            faces = estimator.predict(picture, prompts=prompts, no_face=no_face)
        except PhotoError as error:
            yield _without_faces(name, "unreadable", str(error))
        except CilfError:
            raise
        # Whatever a strange file sets off in a library, the other files are still to come.
        except Exception as error:
            log.debug("failed on %r", name, exc_info=True)
            what = " ".join(f"{type(error).__name__}: {error}".split())
            yield _without_faces(name, "unreadable", f"'{name}' cannot be processed ({what}); leave it out")
        else:
            if faces:
                rows = (_face_row(name, number, face) for number, face in enumerate(faces))
                yield PhotoResult(tuple(faces), tuple(rows))
            else:
                yield _without_faces(name, "no_face", f"no face was found in '{name}'")


def _without_faces(name: str, status: str, error: str) -> PhotoResult:
    return PhotoResult((), (_row(name, status=status, error=error),))


def _row(name: str, **known: Any) -> Row:
    return dict.fromkeys(COLUMNS) | {"path": name} | known


def _face_row(name: str, number: int, face: FacePrediction) -> Row:
    x0, y0, x1, y1 = map(float, face.box)
    low, high = map(float, face.interval)
    return _row(
        name,
        face=number,
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
        detection_score=None if face.detection_score is None else float(face.detection_score),
        age=float(face.age),
        age_low=low,
        age_high=high,
        initial_age=float(face.initial_age),
        iterations=face.iterations,
        status=face.status,
    )


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
        rows: from `predict_photos`, perhaps with further columns.
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
    try:
        with _WRITERS[output.suffix.lower()](partial, columns) as write:
            for row in rows:
                write({column: _as_text(row.get(column)) for column in columns})
                count += 1
        partial.replace(output)
    except OSError as error:
        raise UsageError(f"the table '{output}' cannot be written ({error}); check the disk") from error
    finally:
        if not count:
            partial.unlink(missing_ok=True)
    return count


def _as_text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


RowWriter = Callable[[Row], None]


@contextmanager
def _write_csv(path: Path, columns: Sequence[str]) -> Iterator[RowWriter]:
    # Line-buffered, like JSON below, so that finished rows are on the disk even if the process is killed.
    with path.open("w", encoding="utf-8", newline="", buffering=1) as file:
        writer = csv.writer(file)
        writer.writerow(map(_as_text, columns))
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


@contextmanager
def _write_parquet(path: Path, columns: Sequence[str]) -> Iterator[RowWriter]:
    import pandas
    import pyarrow
    from pyarrow import parquet

    kinds = dict.fromkeys(columns, "Float64")
    kinds |= {column: "string" for column in columns if column in TEXT_COLUMNS}
    kinds |= dict.fromkeys(("face", "iterations"), "Int64")
    # Through pandas, because the schema then carries the notes from which pandas restores its nullable types.
    empty = pandas.DataFrame({column: pandas.array([], dtype=kind) for column, kind in kinds.items()})
    schema = pyarrow.Schema.from_pandas(empty, preserve_index=False)
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
