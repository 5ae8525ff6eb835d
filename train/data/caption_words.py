"""The words of the captions, read from `captions.toml`: what each means, and where in a sentence it can stand."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from train.data.attributes import COLUMN

FILE = Path(__file__).with_name("captions.toml")
PERSON_SLOTS = ("adjective", "with", "verb")
PHOTO_SLOTS = ("photo", "tail")
LIFETIME = (0, 120)
NOBODY = (200, 200)  # ages of what is true of no one

Ages = tuple[int, int]
"""First and last age in whole years: at 29.5 one is still in the twenties."""

Literal = tuple[int, int]
"""Column of an attribute in `train.data.attributes.ATTRIBUTES`, and +1 or -1."""


@dataclass(frozen=True)
class Statement:
    """One thing that a caption can say of what a photo shows.

    Attributes:
        literals: what must hold for it to be true.
        phrases: (slot, text), slots as in `captions.toml`.
        of_photo: of the photo rather than of the person.
        sufficient: whether the literals make it true; otherwise they can only make it false.
        gender, ages: must hold too, where given.
        sentences: that say the same by themselves, with blanks for the person.
    """

    literals: tuple[Literal, ...]
    phrases: tuple[tuple[str, str], ...]
    of_photo: bool
    sufficient: bool = True
    gender: str | None = None
    ages: Ages = LIFETIME
    sentences: tuple[str, ...] = ()

    @property
    def columns(self) -> frozenset[int]:
        """Columns of the attributes that it is about."""
        return frozenset(column for column, _ in self.literals)


@dataclass(frozen=True)
class Noun:
    """Words for a person of a gender (None: any) in an age range."""

    gender: str | None
    ages: Ages
    singular: tuple[str, ...]
    plural: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Words of an age range that are no nouns: (slot, text), with "sentence" as a slot of its own."""

    ages: Ages
    phrases: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PhotoWords:
    """Words of the sentence's frame."""

    nouns: tuple[str, ...]
    plurals: tuple[str, ...]
    openings: tuple[str, ...]
    links: tuple[str, ...]
    subjects: tuple[str, ...]
    male_subjects: tuple[str, ...]
    female_subjects: tuple[str, ...]
    looks: tuple[str, ...]
    questions: tuple[str, ...]
    exclaims: tuple[str, ...]

    def subjects_of(self, gender: str | None) -> tuple[str, ...]:
        """Subjects of a sentence about a person of a gender (None: any)."""
        return {"male": self.male_subjects, "female": self.female_subjects, None: self.subjects}[gender]


@dataclass(frozen=True)
class CaptionWords:
    """All of `captions.toml`. `misspellings`: a word → how people misspell it."""

    photo: PhotoWords
    statements: tuple[Statement, ...]
    hints: tuple[Statement, ...]
    nouns: tuple[Noun, ...]
    stages: tuple[Stage, ...]
    misspellings: dict[str, tuple[str, ...]]

    def texts(self) -> Iterator[str]:
        """Every text of the file."""
        yield from self.right_texts()
        for misspelled in self.misspellings.values():
            yield from misspelled

    def right_texts(self) -> Iterator[str]:
        """Every text but the misspelled words."""
        for part in vars(self.photo).values():
            yield from part
        for source in (*self.statements, *self.hints):
            yield from (text for _, text in source.phrases)
            yield from source.sentences
        for stage in self.stages:
            yield from (text for _, text in stage.phrases)
        for noun in self.nouns:
            yield from (*noun.singular, *noun.plural)


@cache
def caption_words() -> CaptionWords:
    """The words, read once."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    sentences = {row["means"]: _lines(row) for row in table["sentence"] if "means" in row}
    return CaptionWords(
        photo=PhotoWords(**{name: _texts(value) for name, value in table["photo"].items()}),
        # Each meaning's sentences belong to its first statement.
        statements=tuple(_statement(row, sentences.pop(row["means"], ())) for row in table["statement"]),
        hints=tuple(_statement(row, (), sufficient=False) for row in table["hint"]),
        nouns=tuple(
            Noun(row.get("gender"), tuple(row["ages"]), _texts(row["singular"]), _texts(row["plural"]))
            for row in table["noun"]
        ),
        stages=(
            *(Stage(tuple(row["ages"]), _phrases(row, ("adjective", "with"))) for row in table["stage"]),
            *(
                Stage(tuple(row["ages"]), tuple(("sentence", text) for text in _lines(row)))
                for row in table["sentence"]
                if "ages" in row
            ),
        ),
        misspellings={word: _texts(value) for word, value in table["misspellings"].items()},
    )


def _texts(value: str) -> tuple[str, ...]:
    return tuple(" ".join(text.split()) for text in value.split(","))


def _lines(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(line.strip() for line in row["texts"].splitlines())


def _phrases(row: dict[str, Any], slots: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((slot, text) for slot in slots if slot in row for text in _texts(row[slot]))


def _statement(row: dict[str, Any], sentences: tuple[str, ...], *, sufficient: bool = True) -> Statement:
    of_photo = any(slot in row for slot in PHOTO_SLOTS)
    literals = tuple((COLUMN[word[1:]], 1 if word[0] == "+" else -1) for word in row.get("means", "").split())
    phrases = _phrases(row, PHOTO_SLOTS if of_photo else PERSON_SLOTS)
    ages = NOBODY if row.get("nobody") else tuple(row.get("ages", LIFETIME))
    return Statement(literals, phrases, of_photo, sufficient, row.get("gender"), ages, sentences)
