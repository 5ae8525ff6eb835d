"""APPA-REAL: 7,591 photos with real ages and about 38 guesses of each (Agustsson et al., FG 2017).

Layout (`appa-real-release/`): `gt_avg_train.csv`, `gt_avg_valid.csv`, `gt_avg_test.csv`, and the photos in `train/`,
`valid/` and `test/`. Beside each `X.jpg` lies a cropped `X.jpg_face.jpg`, which is not used.
"""

from dataclasses import dataclass
from pathlib import Path

from train.data.datasets.base import Facts, Sample, complete, facts_of, read_table, required, years

PARTS = ("train", "valid", "test")
COLUMNS = ("file_name", "apparent_age_avg", "apparent_age_std", "real_age")


@dataclass(frozen=True)
class AppaReal:
    """Real ages or, as a set of its own, apparent ages with the deviation of the guesses.

    Attributes:
        apparent: which of the two the label is.
    """

    apparent: bool

    @property
    def name(self) -> str:
        """Registry name."""
        return "appa-real-apparent" if self.apparent else "appa-real"

    @property
    def facts(self) -> Facts:
        """Of the one label or the other."""
        return facts_of(self.name)

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the CSV files. Raises DatasetError."""
        tables = {part: required(root / f"gt_avg_{part}.csv", self.facts) for part in PARTS}
        samples = []
        for part, path in tables.items():
            for row in read_table(path, COLUMNS, self.facts):
                photo = root / part / row["file_name"]
                samples.append(
                    Sample(
                        photo,
                        f"appa-real/{part}/{photo.name}",
                        years(row["apparent_age_avg" if self.apparent else "real_age"], path),
                        None,
                        None,
                        self.name,
                        fold=part,
                        deviation=years(row["apparent_age_std"], path) if self.apparent else None,
                    )
                )
        return complete(samples, self.facts)
