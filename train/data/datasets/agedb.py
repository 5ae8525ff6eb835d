"""AgeDB: 16,488 photos of 568 celebrities, 1 to 101 years old, labelled by hand (Moschoglou et al., CVPRW 2017).

Layout: one folder `AgeDB` of `[number]_[name]_[age]_[gender].jpg`, like `0_MariaCallas_35_f.jpg`.
"""

import re
from pathlib import Path

from train.data.datasets.base import Sample, facts_of, some

NAME = re.compile(r"\d+_(.+)_(\d{1,3})_([mf])\.jpe?g", re.IGNORECASE)
FOLDER = "AgeDB"
GENDERS = {"m": "male", "f": "female"}


class AgeDB:
    """Person, age and gender from the file name. The root is the folder itself, or the one that holds it."""

    name = "agedb"
    facts = facts_of("agedb")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError when the folder holds none."""
        folder = root / FOLDER if (root / FOLDER).is_dir() else root
        samples = []
        for path in sorted(folder.glob("*")):
            match = NAME.fullmatch(path.name)
            if match:
                gender = GENDERS[match[3].lower()]
                samples.append(
                    Sample(path, path.name, int(match[2]), gender, None, self.name, subject=match[1])
                )
        return some(samples, folder, "[number]_[name]_[age]_[gender].jpg", self.facts)
