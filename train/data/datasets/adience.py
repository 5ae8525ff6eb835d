"""Adience: 26,580 faces of 2,284 people in 8 age groups, from phone photos (Eidinger, Enbar, Hassner, TIFS 2014).

Layout: `fold_0_data.txt` to `fold_4_data.txt`, tab-separated, and the photos in
`aligned/USER/landmark_aligned_face.FACE.IMAGE` or `faces/USER/coarse_tilt_aligned_face.FACE.IMAGE`.

About one label in ten is no published group: a range within one, like (27, 32); a range across two, like (8, 23); or a
single age, like 35. A label counts for the group that holds more than half of its years; what fits no group is left
out.
"""

import re
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

GROUPS: Groups = ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
FOLDS = 5
COLUMNS = ("user_id", "original_image", "face_id", "age", "gender")
# Coarsely aligned faces show more of the picture round the face, which the face finder likes.
FOLDERS = {"faces": "coarse_tilt_aligned_face", "aligned": "landmark_aligned_face"}
GENDERS = {"m": "male", "f": "female"}


class Adience:
    """Group, gender, person and fold from the fold files."""

    name = "adience"
    facts = facts_of("adience", groups=GROUPS)

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the fold files. Raises DatasetError."""
        tables = [root / f"fold_{fold}_data.txt" for fold in range(FOLDS)]
        for path in tables:
            required(path, self.facts)
        folder, prefix = self._photos(root)
        samples = []
        for fold, path in enumerate(tables):
            for row in read_table(path, COLUMNS, self.facts, "\t"):
                group = group_of_label(row["age"])
                if group is None:
                    continue
                name = f"{row['user_id']}/{prefix}.{row['face_id']}.{row['original_image']}"
                samples.append(
                    Sample(
                        folder / name,
                        name,
                        middle(GROUPS[group]),
                        GENDERS.get(row["gender"]),
                        None,
                        self.name,
                        subject=row["face_id"],
                        group=group,
                        fold=str(fold),
                    )
                )
        return complete(samples, self.facts)

    def _photos(self, root: Path) -> tuple[Path, str]:
        for folder, prefix in FOLDERS.items():
            if (root / folder).is_dir():
                return root / folder, prefix
        raise DatasetError(
            f"{self.facts.title} is not there as published: looked for {root / 'faces'} and {root / 'aligned'}, the "
            "unpacked faces.tar.gz or aligned.tar.gz."
        )


def group_of_label(label: str | None) -> int | None:
    """Number of the group of a label, like "(25, 32)" or "29"; None where no single group fits."""
    ages = [int(number) for number in re.findall(r"\d+", label or "")]
    if not ages:
        return None
    for number, (first, last) in enumerate(GROUPS):
        shared = min(ages[-1], last) - max(ages[0], first) + 1
        if 2 * shared > ages[-1] - ages[0] + 1:
            return number
    return None
