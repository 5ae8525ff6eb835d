"""IMDB-Clean: the IMDB part of IMDB-WIKI with cleaned labels (Lin et al., FP-Age, 2021).

Layout, as the makers' `run_all.sh` leaves it: `csvs/imdb_train_new_1024.csv`, `csvs/imdb_valid_new_1024.csv` and
`csvs/imdb_test_new_1024.csv`, and the photos in `data/imdb-clean-1024/`, like `48/nm0000048_rm…jpg`. A photo shows the
labelled face with a wide margin.
"""

import re
from pathlib import Path

from train.data.datasets.base import DatasetError, Sample, complete, facts_of, read_table, required, years

PARTS = ("train", "valid", "test")
COLUMNS = ("filename", "age", "gender")
PERSON = re.compile(r"(nm\d+)_rm")
GENDERS = {"M": "male", "F": "female"}


class ImdbClean:
    """Age, gender and part from the CSV files, the person from the file name."""

    name = "imdb-clean"
    facts = facts_of("imdb-clean")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the CSV files. Raises DatasetError."""
        tables = {part: required(root / "csvs" / f"imdb_{part}_new_1024.csv", self.facts) for part in PARTS}
        folder = required(root / "data" / "imdb-clean-1024", self.facts)
        samples = []
        for part, path in tables.items():
            for row in read_table(path, COLUMNS, self.facts):
                person = PERSON.search(row["filename"])
                if not person:
                    raise DatasetError(
                        f"{path} lists {row['filename']}: looked for a name like nm0000048_rm…."
                    )
                samples.append(
                    Sample(
                        folder / row["filename"],
                        row["filename"],
                        years(row["age"], path),
                        GENDERS.get(row["gender"].strip().upper()),
                        None,
                        self.name,
                        subject=person[1],
                        fold=part,
                    )
                )
        return complete(samples, self.facts)
