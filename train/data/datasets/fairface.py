"""FairFace: 97,698 faces balanced over seven races, in nine age groups (Kärkkäinen and Joo, WACV 2021).

Layout: `fairface_label_train.csv` and `fairface_label_val.csv` with the columns file, age, gender, race and
service_test, and the photos in `train/` and `val/`, in the root or in the unpacked archive's own folder.
"""

from pathlib import Path

from train.data.datasets.base import (
    DatasetError,
    Groups,
    Sample,
    complete,
    facts_of,
    middle,
    read_table,
    required,
)

PARTS = ("train", "val")
COLUMNS = ("file", "age", "gender", "race")
# The wide margin first: the face finder wants to see more than the face.
FOLDERS = ("fairface-img-margin125-trainval", "fairface-img-margin025-trainval", ".")
LABELS = {
    "0-2": (0, 2),
    "3-9": (3, 9),
    "10-19": (10, 19),
    "20-29": (20, 29),
    "30-39": (30, 39),
    "40-49": (40, 49),
    "50-59": (50, 59),
    "60-69": (60, 69),
    "more than 70": (70, 90),
}
GROUPS: Groups = tuple(LABELS.values())


class FairFace:
    """Group, gender, race and part from the CSV files."""

    name = "fairface"
    facts = facts_of("fairface", groups=GROUPS)

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the CSV files. Raises DatasetError."""
        tables = {part: required(root / f"fairface_label_{part}.csv", self.facts) for part in PARTS}
        folder = next((root / name for name in FOLDERS if (root / name / "train").is_dir()), root)
        samples = []
        for part, path in tables.items():
            for row in read_table(path, COLUMNS, self.facts):
                if row["age"] not in LABELS:
                    raise DatasetError(f"{path} gives the age {row['age']!r}; known: {', '.join(LABELS)}.")
                group = list(LABELS).index(row["age"])
                samples.append(
                    Sample(
                        folder / row["file"],
                        f"fairface/{row['file']}",
                        middle(GROUPS[group]),
                        row["gender"].lower() or None,
                        row["race"].lower().replace("_", " ") or None,
                        self.name,
                        group=group,
                        fold=part,
                    )
                )
        return complete(samples, self.facts)
