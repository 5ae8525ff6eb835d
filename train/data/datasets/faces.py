"""FACES: 2,052 photos of 171 people with six facial expressions, two photos each (Ebner, Riediger, Lindenberger, 2010).

Layout: one folder of `NNN_G_S_E_P.jpg`: person, age group (y, m, o), sex (f, m), expression (a, d, f, h, n, s: anger,
disgust, fear, happiness, neutrality, sadness) and picture set (a, b), like `004_o_m_a_a.jpg`.

The names give the age group alone. The exact age is in the data base's own metadata: copied into a file `ages.csv`
with the columns `subject,age` (like `004,75`) beside the photos, it is the label, as in published results.
"""

import re
from itertools import product
from pathlib import Path

from train.data.datasets.base import (
    DatasetError,
    Groups,
    Sample,
    facts_of,
    middle,
    predicted,
    read_table,
    some,
    years,
)

NAME = re.compile(r"(\d{3})_([ymo])_([fm])_([adfhns])_([ab])\.jpe?g", re.IGNORECASE)
GROUPS: Groups = (
    (19, 31),
    (39, 55),
    (69, 80),
)  # young, middle-aged, older, as the data base's makers give them
LETTERS = "ymo"
EXPRESSIONS, SETS = "adfhns", "ab"
GENDERS = {"m": "male", "f": "female"}
AGES = "ages.csv"


class Faces:
    """Person, group, sex and expression from the file name, exact ages from `ages.csv` where it is there.

    The expression is the sample's `fold`: protocols across expressions rest on it.
    """

    name = "faces"
    facts = facts_of("faces", groups=GROUPS)

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError."""
        ages = self._ages(root / AGES)
        samples = []
        for path in sorted(root.glob("*")):
            match = NAME.fullmatch(path.name)
            if not match:
                continue
            subject, letter, gender, expression, _ = (part.lower() for part in match.groups())
            if ages and subject not in ages:
                raise DatasetError(f"{root / AGES} gives no age for the person {subject} of {path.name}.")
            group = LETTERS.index(letter)
            samples.append(
                Sample(
                    path,
                    path.name,
                    ages.get(subject, middle(GROUPS[group])),
                    GENDERS[gender],
                    None,
                    self.name,
                    subject=subject,
                    group=None if ages else group,
                    fold=expression,
                )
            )
        some(samples, root, "NNN_G_S_E_P.jpg, like 004_o_m_a_a.jpg", self.facts)
        people = sorted({sample.name[: len("NNN_G_S")].lower() for sample in samples})
        names = ("_".join(parts) for parts in product(people, EXPRESSIONS, SETS))
        return predicted(samples, [root / f"{name}.jpg" for name in names], self.facts)

    def _ages(self, path: Path) -> dict[str, float]:
        """Person → age in years; empty without the file."""
        if not path.is_file():
            return {}
        rows = read_table(path, ("subject", "age"), self.facts)
        return {row["subject"].strip().zfill(3): years(row["age"], path) for row in rows}
