"""Captions made from labels, for the contrastive loss, and which faces each caption is true of.

The words come from the labels alone (age, gender, race): they teach the text tower a vocabulary, they are no evidence
that the model sees anything beyond these labels.
"""

import random
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from train.data.datasets import Sample

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
DECADES = "twenties thirties forties fifties sixties seventies eighties nineties".split()

# words → (first age, last age) in whole years; neighbours overlap, as in speech
STAGES = {
    "newborn": (0, 0),
    "baby": (0, 2),
    "infant": (0, 1),
    "toddler": (1, 3),
    "small child": (2, 7),
    "child": (2, 12),
    "kid": (3, 12),
    "teenager": (13, 19),
    "adolescent": (12, 18),
    "minor": (0, 17),
    "young adult": (18, 30),
    "young person": (14, 30),
    "adult": (18, 120),
    "middle aged person": (40, 60),
    "middle aged adult": (40, 60),
    "old person": (65, 120),
    "elderly person": (68, 120),
    "senior": (62, 120),
    "pensioner": (65, 120),
    "very old person": (80, 120),
}
GENDERED_STAGES = {
    "male": {
        "boy": (0, 16),
        "little boy": (0, 8),
        "teenage boy": (13, 19),
        "young man": (16, 32),
        "man": (18, 120),
        "middle aged man": (40, 60),
        "old man": (65, 120),
        "elderly man": (68, 120),
        "grandfather": (60, 120),
        "gentleman": (30, 120),
    },
    "female": {
        "girl": (0, 16),
        "little girl": (0, 8),
        "teenage girl": (13, 19),
        "young woman": (16, 32),
        "woman": (18, 120),
        "middle aged woman": (40, 60),
        "old woman": (65, 120),
        "elderly woman": (68, 120),
        "grandmother": (60, 120),
        "lady": (25, 120),
    },
}
RACES = {"white": "white", "black": "black", "asian": "asian", "indian": "indian"}  # "other" has no word
OPENINGS = (
    "", "a ", "a photo of a ", "a picture of a ", "a portrait of a ", "the face of a ", "a close up of a ",
    "this is a ", "a selfie of a ", "an image of a ", "a photo of the face of a ", "a cropped photo of a ",
)  # fmt: skip
AGED = (
    "{age} year old {noun}", "{age} years old {noun}", "{noun} aged {age}", "{noun} of age {age}",
    "{noun}, {age} years old", "{noun} who is {age} years old",
    "{noun} who looks {age}", "{noun} about {age} years old", "{age} {noun}",
)  # fmt: skip
IN_DECADE = ("{noun} in the {decade}", "{noun} in {possessive} {decade}")
POSSESSIVE = {"male": "his", "female": "her", None: "their"}
# age prompts of the model itself: every one gives the age as a number
TEMPLATES = (
    "a photo of a {age} year old person.",
    "a portrait of a person aged {age}.",
    "the face of a person who is {age} years old.",
    "a person of age {age}",
    "{age} years old",
)


def number_words(age: int) -> str:
    """34 → "thirty four"."""
    if age < 20:
        return ONES[age]
    if age >= 100:
        return "one hundred" if age == 100 else f"one hundred and {number_words(age - 100)}"
    return TENS[age // 10] + (f" {ONES[age % 10]}" if age % 10 else "")


@dataclass(frozen=True)
class Caption:
    """A text and what must hold of a face for the text to be true of it; None means that it says nothing of it.

    `age` in years when the text names one, `ages` first and last in whole years when it names a range: at 29.5 one is
    still in the twenties.
    """

    text: str
    age: float | None = None
    ages: tuple[int, int] | None = None
    gender: str | None = None
    race: str | None = None


def caption(sample: Sample, chance: random.Random) -> Caption:
    """A random true caption of the sample."""
    gender = sample.gender if chance.random() < 0.6 else None
    race = RACES.get(sample.race or "") if chance.random() < 0.25 else None
    kind = chance.random()
    if kind < 0.55:
        return _with_age(sample, gender, race, chance)
    if kind < 0.70 and 20 <= sample.age < 100:
        return _with_decade(sample, gender, race, chance)
    return _with_stage(sample, gender, race, chance)


def agreement(
    samples: list[Sample], captions: list[Caption], sigma: float
) -> Float[Tensor, "sample caption"]:
    """How true each caption is of each sample, in [0, 1]: a Gaussian of `sigma` years round a named age, 1 or 0 within
    or outside a range, and 0 when gender or race differ from what the caption says, or are not known (METHOD 6,
    multi-positive)."""
    age = torch.tensor([sample.age for sample in samples]).unsqueeze(1)
    low = torch.tensor([c.ages[0] if c.ages else 0.0 for c in captions])
    high = torch.tensor([c.ages[1] if c.ages else 1e3 for c in captions])
    named = torch.tensor([float("nan") if c.age is None else float(c.age) for c in captions])
    kernel = torch.exp(-((age - named) ** 2) / (2 * sigma**2)).nan_to_num(1.0)
    return (
        kernel
        * ((age >= low) & (age < high + 1))
        * _same(samples, captions, "gender")
        * _same(samples, captions, "race")
    )


def _same(samples: list[Sample], captions: list[Caption], attribute: str) -> Tensor:
    codes: dict[str | None, int] = {}

    def code(items: list) -> Tensor:
        return torch.tensor([codes.setdefault(getattr(item, attribute), len(codes)) for item in items])

    silent = torch.tensor([getattr(c, attribute) is None for c in captions])
    return (code(samples).unsqueeze(1) == code(captions)) | silent


def _with_age(sample: Sample, gender: str | None, race: str | None, chance: random.Random) -> Caption:
    age = round(sample.age)
    words = number_words(age) if chance.random() < 0.2 else str(age)
    noun = _noun(age, gender, chance)
    phrase = chance.choice(AGED).format(age=words, noun=noun)
    return Caption(_sentence(phrase, race, chance), age=sample.age, gender=gender, race=race)


def _with_decade(sample: Sample, gender: str | None, race: str | None, chance: random.Random) -> Caption:
    first = int(sample.age) // 10 * 10
    phrase = chance.choice(IN_DECADE).format(
        noun=_noun(round(sample.age), gender, chance),
        possessive=POSSESSIVE[gender],
        decade=DECADES[first // 10 - 2],
    )
    return Caption(_sentence(phrase, race, chance), ages=(first, first + 9), gender=gender, race=race)


def _with_stage(sample: Sample, gender: str | None, race: str | None, chance: random.Random) -> Caption:
    stages = GENDERED_STAGES[gender] if gender else STAGES
    fitting = [(words, ages) for words, ages in stages.items() if ages[0] <= sample.age < ages[1] + 1]
    words, ages = chance.choice(fitting)
    return Caption(_sentence(words, race, chance), ages=ages, gender=gender, race=race)


def _noun(age: int, gender: str | None, chance: random.Random) -> str:
    if gender is None:
        return chance.choice(("person", "person", "human", "face"))
    young, grown = ("boy", "man") if gender == "male" else ("girl", "woman")
    return chance.choice((gender, young if age < 16 else grown, f"{gender} person"))


def _sentence(phrase: str, race: str | None, chance: random.Random) -> str:
    if race:
        phrase = f"{race} {phrase}"
    opening = chance.choice(OPENINGS)
    if opening.endswith("a "):
        opening = f"{opening[:-2]}{article(phrase)} "
    return opening + phrase + chance.choice(("", "."))


def article(phrase: str) -> str:
    """The article that captions put before a phrase: "a child", "an adult"; before digits always "a"."""
    return "an" if phrase[0] in "aeiou" else "a"


@cache
def vocabulary() -> tuple[str, ...]:
    """Every text piece that a caption can be made of; its words are the words that the text tower learns."""
    pieces = [
        *OPENINGS,
        *TEMPLATES,
        *STAGES,
        *DECADES,
        *RACES,
        *ONES,
        *TENS,
        "one hundred and",
        *AGED,
        *IN_DECADE,
    ]
    pieces += [words for stages in GENDERED_STAGES.values() for words in stages]
    pieces += [str(age) for age in range(117)] + list(POSSESSIVE.values())
    pieces += ["male", "female", "boy", "girl", "man", "woman", "person", "human", "face", "an", ", ."]
    blanks = ("{age}", "{noun}", "{decade}", "{possessive}")
    for blank in blanks:
        pieces = [piece.replace(blank, " ") for piece in pieces]
    return tuple(pieces)
