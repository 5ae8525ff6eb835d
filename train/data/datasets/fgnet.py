"""FG-NET: 1,002 scanned family photos of 82 people, 0 to 69 years old (Lanitis, Taylor, Cootes, 2002).

Layout: `images/NNNAyy.JPG`, person and age, with a letter behind the age where there are several, like `010A07b.JPG`.
"""

import re
from pathlib import Path

from train.data.datasets.base import Sample, facts_of, some

NAME = re.compile(r"(\d{3})A(\d{2})[a-z]?\.jpe?g", re.IGNORECASE)
FOLDER = "images"


class FGNet:
    """Person and age from the file name."""

    name = "fgnet"
    facts = facts_of("fgnet")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError when the folder holds none."""
        folder = root / FOLDER
        samples = []
        for path in sorted(folder.glob("*")):
            match = NAME.fullmatch(path.name)
            if match:
                samples.append(
                    Sample(path, path.name, int(match[2]), None, None, self.name, subject=match[1])
                )
        return some(samples, folder, "NNNAyy.JPG, like 001A02.JPG", self.facts)
