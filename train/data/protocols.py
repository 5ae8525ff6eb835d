"""Evaluation protocols: how a data set is divided, by name (`protocols.toml`), the same wherever the same photos are.

Order comes from SHA-256 of the seed and a photo's or person's name alone: not from the file system, and not from a
library's random numbers. Which part a photo falls into also depends on the others, since each part gets its share: a
copy of a set that lacks some photos is divided otherwise. METHOD 11.
"""

import csv
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from train.data.datasets import DATASETS, DatasetError, Sample

PROTOCOLS = Path(__file__).parent / "protocols.toml"

# What a published training part is cut into, person by person: published protocols know only train and test (and
# sometimes a part for choices), a checkpoint here needs photos of their own for the error ensemble, for choices and for
# calibration. The shares are those of the bundled checkpoint's UTKFace split.
OF_TRAIN = {"train": 0.84, "held": 0.055, "tune": 0.042, "cal": 0.063}
OF_CHOOSE = {"tune": 0.4, "cal": 0.6}

Rule = Literal["folds", "random", "leave-one-subject-out", "balanced", "published", "published-folds"]


@dataclass(frozen=True)
class Protocol:
    """One entry of `protocols.toml`, whose head explains the fields; `ages` are the first and last age that count."""

    name: str
    title: str
    rule: Rule
    unit: Literal["photo", "subject"]
    exclusive: bool
    measures: tuple[str, ...]
    known: str
    source: str
    dataset: str | None = None
    folds: int = 5
    test: float = 0.2
    where: Mapping[str, str] | None = None
    ages: tuple[int, int] | None = None
    count: int | None = None
    size: int = 0
    cells: tuple[Mapping[str, Any], ...] = ()
    parts: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Split:
    """One division of a set.

    Attributes:
        name: of the protocol, with a number where it has several splits.
        parts: file name → train, held, tune, cal or test; photos that a protocol leaves out are not in it.
        units: file name → what was kept together: the person, or the photo itself.
    """

    name: str
    parts: dict[str, str]
    units: dict[str, str]

    @property
    def sizes(self) -> Counter[str]:
        """How many photos each part has."""
        return Counter(self.parts.values())


@cache
def protocols() -> dict[str, Protocol]:
    """All protocols by name."""
    entries = tomllib.loads(PROTOCOLS.read_text(encoding="utf-8"))
    return {name: _protocol(name, entry) for name, entry in entries.items()}


def _protocol(name: str, entry: dict[str, Any]) -> Protocol:
    for key in ("measures", "ages", "cells"):
        if key in entry:
            entry[key] = tuple(entry[key])
    return Protocol(name=name, **entry)


def protocol(name: str) -> Protocol:
    """The protocol of this name. Raises DatasetError."""
    if name not in protocols():
        raise DatasetError(f"Unknown protocol {name!r}; known: {', '.join(protocols())}.")
    return protocols()[name]


def divide(rules: Protocol, samples: list[Sample], seed: int = 0) -> list[Split]:
    """All splits of a protocol, in their order.

    Raises:
        DatasetError: the samples are of another set, not the whole of it (`Facts.whole`), do not tell people apart
            where the protocol needs it, or are too few for its parts; or a protocol that promises to share nobody does.
    """
    _check_set(rules, samples)
    salt = f"{rules.name}/{seed}"
    chosen = _eligible(rules, samples, salt)
    assignments = RULES[rules.rule](rules, chosen, salt)
    if not assignments:
        raise DatasetError(f"No photo of this set fits the protocol {rules.name!r}.")
    several = len(assignments) > 1
    return [
        _split(rules, f"{rules.name}-{number:02}" if several else rules.name, outer, chosen, salt)
        for number, outer in enumerate(assignments)
    ]


def write(split: Split, folder: Path) -> Path:
    """The split as the file that `fit`, `calibrate` and `evaluate` read."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split.name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("filename", "split", "group"))
        rows.writerows((name, part, split.units[name]) for name, part in sorted(split.parts.items()))
    return path


def shared(split: Split, samples: Iterable[Sample]) -> int:
    """How many of the people in the test part are in other parts too."""
    people: dict[bool, set[str]] = {True: set(), False: set()}
    for sample in samples:
        if sample.subject is not None and sample.name in split.parts:
            people[split.parts[sample.name] == "test"].add(sample.subject)
    return len(people[True] & people[False])


def table() -> str:
    """Every protocol in Markdown, with what is known to leak."""
    lines = ["| name | division | shares nobody | measures | known |", "|---|---|---|---|---|"]
    for name, rules in protocols().items():
        lines.append(
            f"| `{name}` | {rules.title} | {'yes' if rules.exclusive else 'no'} | {', '.join(rules.measures)} "
            f"| {rules.known} |"
        )
    return "\n".join(lines)


def apportion(counts: Mapping[str, int], shares: Mapping[str, float], salt: str) -> dict[str, str]:
    """Give whole units (name → number of photos) to parts, so that each part gets about its share of the photos.

    Units go in hashed order to the part that lacks most photos; no part stays empty. Raises DatasetError when there are
    fewer units than parts.
    """
    if len(counts) < len(shares):
        raise DatasetError(f"{len(counts)} people or photos cannot fill the parts {', '.join(shares)}.")
    total = sum(counts.values()) / sum(shares.values())
    lacking = {part: share * total for part, share in shares.items()}
    empty = set(shares)
    part_of = {}
    order = _ordered(counts, salt)
    for place, unit in enumerate(order):
        open_parts = empty if len(order) - place <= len(empty) else lacking
        part = max((name for name in shares if name in open_parts), key=lacking.__getitem__)
        lacking[part] -= counts[unit]
        empty.discard(part)
        part_of[unit] = part
    return part_of


def _ordered(names: Iterable[str], salt: str) -> list[str]:
    """The names in an order that depends on the salt and on each name alone."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{salt}/{name}".encode()).digest(), name))


def _check_set(rules: Protocol, samples: list[Sample]) -> None:
    sets = {sample.dataset for sample in samples}
    if rules.dataset and sets != {rules.dataset}:
        raise DatasetError(
            f"The protocol {rules.name!r} divides {rules.dataset}, not {', '.join(sorted(sets)) or 'nothing'}."
        )
    facts = DATASETS[rules.dataset].facts if rules.dataset else None
    if facts and facts.whole and len(samples) < (facts.photos or 0):
        raise DatasetError(
            f"{facts.title} is not wholly unpacked: {len(samples)} of its {facts.photos} published photos are there, "
            f"and the protocol {rules.name!r} divides the whole set; random-80-20 and exclusive-80-20 divide any part."
        )
    if rules.unit == "subject" and any(sample.subject is None for sample in samples):
        raise DatasetError(
            f"The protocol {rules.name!r} keeps people together; {', '.join(sorted(sets))} does not tell them apart."
        )


def _eligible(rules: Protocol, samples: list[Sample], salt: str) -> list[Sample]:
    """The photos that the protocol speaks of."""
    first, last = rules.ages or (-1, 1000)
    conditions = (rules.where or {}).items()
    fitting = {
        sample.name: sample
        for sample in samples
        if first <= sample.age <= last and all(getattr(sample, key) == value for key, value in conditions)
    }
    return [fitting[name] for name in _ordered(fitting, f"{salt}/count")[: rules.count]]


def _units(samples: Iterable[Sample], by_subject: bool) -> dict[str, str]:
    """File name → the person where that is asked for and known, else the photo."""
    return {
        sample.name: sample.subject if by_subject and sample.subject is not None else sample.name
        for sample in samples
    }


def _groups(samples: Iterable[Sample], parts: Mapping[str, str]) -> dict[str, str]:
    """File name → the person; for each part one of its own where a protocol divides a person's photos, since a group
    lies in one part alone (`read_groups`)."""
    units = _units(samples, by_subject=True)
    parts_of: dict[str, set[str]] = {}
    for name, unit in units.items():
        parts_of.setdefault(unit, set()).add(parts[name])
    return {
        name: unit if len(parts_of[unit]) == 1 else f"{unit}/{parts[name]}" for name, unit in units.items()
    }


def _apportioned(
    samples: list[Sample], shares: Mapping[str, float], by_subject: bool, salt: str
) -> dict[str, str]:
    """File name → part."""
    units = _units(samples, by_subject)
    part = apportion(Counter(units.values()), shares, salt)
    return {name: part[unit] for name, unit in units.items()}


def _folds(rules: Protocol, samples: list[Sample], salt: str) -> list[dict[str, str]]:
    shares = {str(fold): 1.0 for fold in range(rules.folds)}
    return _each_tested(_apportioned(samples, shares, rules.unit == "subject", salt))


def _random(rules: Protocol, samples: list[Sample], salt: str) -> list[dict[str, str]]:
    shares = {"train": 1 - rules.test, "test": rules.test}
    return [_apportioned(samples, shares, rules.unit == "subject", salt)]


def _leave_one_subject_out(rules: Protocol, samples: list[Sample], salt: str) -> list[dict[str, str]]:
    return _each_tested(_units(samples, by_subject=True))


def _balanced(rules: Protocol, samples: list[Sample], salt: str) -> list[dict[str, str]]:
    sets: dict[str, str] = {}
    for cell in rules.cells:
        conditions = {key: value for key, value in cell.items() if key != "share"}
        fitting = [
            s.name for s in samples if all(getattr(s, key) == value for key, value in conditions.items())
        ]
        quota = min(round(cell["share"] * rules.size), len(fitting) // rules.folds)
        for place, name in enumerate(_ordered(fitting, salt)[: quota * rules.folds]):
            sets[name] = str(place // quota)
    numbers = sorted(set(sets.values()))
    return [{name: "train" if own == one else "test" for name, own in sets.items()} for one in numbers]


def _published(rules: Protocol, samples: list[Sample], salt: str) -> list[dict[str, str]]:
    parts = rules.parts or {}
    published = {sample.name: _part(sample.fold, parts) for sample in samples}
    outer = {name: part for name, part in published.items() if part}
    return [outer] if outer else []


def _published_folds(rules: Protocol, samples: list[Sample], salt: str) -> list[dict[str, str]]:
    return _each_tested({sample.name: sample.fold for sample in samples if sample.fold is not None})


def _part(fold: str | None, parts: Mapping[str, str]) -> str | None:
    """Our word for the makers' fold; a key like "3-5" stands for the numbers from 3 to 5."""
    for key, part in parts.items():
        ends = re.fullmatch(r"(\d+)-(\d+)", key)
        if fold == key or (ends and fold and fold.isdigit() and int(ends[1]) <= int(fold) <= int(ends[2])):
            return part
    return None


def _each_tested(folds: Mapping[str, str]) -> list[dict[str, str]]:
    """One assignment for each fold, which is tested while all others train."""
    return [
        {name: "test" if own == fold else "train" for name, own in folds.items()}
        for fold in sorted(set(folds.values()))
    ]


RULES: dict[Rule, Callable[[Protocol, list[Sample], str], list[dict[str, str]]]] = {
    "folds": _folds,
    "random": _random,
    "leave-one-subject-out": _leave_one_subject_out,
    "balanced": _balanced,
    "published": _published,
    "published-folds": _published_folds,
}


def _split(rules: Protocol, name: str, outer: dict[str, str], samples: list[Sample], salt: str) -> Split:
    """An assignment to train, choose and test, with the first two cut into the parts that a checkpoint needs."""
    by_part = {part: [s for s in samples if outer.get(s.name) == part] for part in ("train", "choose")}
    of_train = OF_TRAIN
    parts = {photo: part for photo, part in outer.items() if part == "test"}
    try:
        if by_part["choose"]:
            of_train = {part: share for part, share in OF_TRAIN.items() if part not in OF_CHOOSE}
            # Faces that were learned from would make intervals too short.
            learned = {s.subject for s in by_part["train"] if s.subject is not None}
            fresh = [s for s in by_part["choose"] if s.subject not in learned]
            parts |= _apportioned(fresh, OF_CHOOSE, True, f"{salt}/choose")
        parts |= _apportioned(by_part["train"], of_train, True, f"{salt}/train")
    except DatasetError as error:
        raise DatasetError(f"The protocol {rules.name!r} needs more of the set: {error}") from None
    split = Split(name, parts, _groups([sample for sample in samples if sample.name in parts], parts))
    if "test" not in split.sizes:
        raise DatasetError(f"The protocol {rules.name!r} finds no photo to test in this set.")
    if rules.exclusive and (people := shared(split, samples)):
        raise DatasetError(
            f"{people} people of the test part of {name} are in other parts too, though the protocol promises that "
            "none are: the set's folds or numbers of people are not as published."
        )
    return split
