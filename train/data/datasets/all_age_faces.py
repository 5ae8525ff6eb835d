"""All-Age-Faces: 13,322 mostly Asian faces named `NNNNNAyy.jpg` (Cheng et al., 2019)."""

import re
from pathlib import Path

from train.data.datasets.base import Sample, facts_of, some

NAME = re.compile(r"(\d{5})A(\d{2})\.jpg")
LAST_FEMALE = 7380  # serials up to this one are female, as the set's description says
FOLDER = "original images"


class AllAgeFaces:
    """Age and serial number from the file name; the gender follows from the serial number."""

    name = "all-age-faces"
    facts = facts_of("all-age-faces")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError when the folder holds none."""
        folder = root / FOLDER
        samples = []
        for path in sorted(folder.glob("*.jpg")):
            match = NAME.fullmatch(path.name)
            if match:
                gender = "female" if int(match[1]) <= LAST_FEMALE else "male"
                samples.append(
                    Sample(path, path.name, int(match[2]), gender, "asian", self.name, subject=match[1])
                )
        return some(samples, folder, "NNNNNAyy.jpg, like 00000A02.jpg", self.facts)
