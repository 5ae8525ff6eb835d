"""Photos of one's own: a folder of pictures and a CSV file of their ages."""

import csv
from pathlib import Path

from train.data.datasets.base import OLDEST, DatasetError, Sample, facts_of, years

LABELS = "ages.csv"


class OwnPhotos:
    """Columns `filename` and `age` (or `age_true`, in years) of `ages.csv` in the folder, or of a CSV file that has the
    folder's name and lies next to it."""

    name = "own"
    facts = facts_of("own")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError for a missing file, column, age or photo."""
        table = root / LABELS if (root / LABELS).is_file() else root.with_name(f"{root.name}.csv")
        if not table.is_file():
            raise DatasetError(
                f"No ages of the photos in {root}: looked for {LABELS} there, and for {table}."
            )
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = {row.get("filename") or "": row for row in csv.DictReader(file)}
        return [_sample(root, table, name, rows[name]) for name in sorted(rows)]


def _sample(root: Path, table: Path, name: str, row: dict[str, str]) -> Sample:
    try:
        age = years(row.get("age") or row["age_true"], table)
    except (KeyError, DatasetError):
        raise DatasetError(
            f"{table} gives no age from 0 to {OLDEST} years for {name!r}; columns: filename, age."
        ) from None
    path = root / name
    if not path.is_file():
        raise DatasetError(f"{table} names a photo that is not in {root}: looked for {name!r}.")
    return Sample(path, name, age, None, None, OwnPhotos.name)
