"""CLAP2016, the apparent ages of ChaLearn Looking at People 2016: 7,591 photos (Escalera et al., CVPRW 2016).

Layout: `train_gt.csv`, `valid_gt.csv` and `test_gt.csv` with the columns image, mean and stdv, each in the root or in a
folder of the same name, and the photos in `train/`, `valid/` and `test/`. The photos are those of APPA-REAL: never
train on one of the two and test on the other.
"""

from pathlib import Path

from train.data.datasets.base import Sample, complete, facts_of, read_table, required, years

PARTS = ("train", "valid", "test")
COLUMNS = ("image", "mean", "stdv")


class Clap2016:
    """Mean and standard deviation of the guesses from the CSV files."""

    name = "clap2016"
    facts = facts_of("clap2016")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the CSV files. Raises DatasetError."""
        tables = {part: required(_labels(root, part), self.facts) for part in PARTS}
        samples = []
        for part, path in tables.items():
            for row in read_table(path, COLUMNS, self.facts):
                photo = root / part / row["image"]
                samples.append(
                    Sample(
                        photo,
                        f"clap2016/{part}/{photo.name}",
                        years(row["mean"], path),
                        None,
                        None,
                        self.name,
                        fold=part,
                        deviation=years(row["stdv"], path),
                    )
                )
        return complete(samples, self.facts)


def _labels(root: Path, part: str) -> Path:
    nested = root / f"{part}_gt" / f"{part}_gt.csv"
    return nested if nested.is_file() else root / f"{part}_gt.csv"
