"""MORPH Album 2, the non-commercial release of 2008: 55,134 police photos of 13,617 people.

Layout: `morph_2008_nonCommercial.csv` with a column `photo` that gives each photo's path, like
`Album2/009055_1M54.JPG`. The labels are known to contradict themselves for some people ("MORPH-II:
Inconsistencies and Cleaning", arXiv 2007.02684); they are taken as they stand, as published results take them.
"""

from pathlib import Path

from train.data.datasets.base import Sample, complete, facts_of, read_table, years

LABELS = "morph_2008_nonCommercial.csv"
COLUMNS = ("id_num", "race", "gender", "age", "photo")
GENDERS = {"M": "male", "F": "female"}
RACES = {"B": "black", "W": "white", "A": "asian", "H": "hispanic", "O": "other"}


class Morph:
    """Labels and subjects from the CSV file."""

    name = "morph"
    facts = facts_of("morph")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the CSV file. Raises DatasetError."""
        path = root / LABELS
        samples = []
        for row in read_table(path, COLUMNS, self.facts):
            photo = root / row["photo"].replace("\\", "/")
            samples.append(
                Sample(
                    photo,
                    photo.name,
                    years(row["age"], path),
                    GENDERS.get(row["gender"].strip().upper()),
                    RACES.get(row["race"].strip().upper()),
                    self.name,
                    subject=row["id_num"].strip().zfill(6),
                )
            )
        return complete(samples, self.facts)
