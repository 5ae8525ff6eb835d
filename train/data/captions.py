"""Captions made from labels and measured attributes, for the contrastive loss, and what each caption is true of.

Age, gender and race come from the labels, everything else from `train.data.attributes`. What a caption does not say,
and what was not measured clearly, stays unlabelled: `agreement` marks such pairs as unknown, and the loss leaves them
out.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

from train.data.attributes import ATTRIBUTES
from train.data.caption_words import LIFETIME, NOBODY, Ages, Literal, Noun, Stage, Statement, caption_words
from train.data.datasets import Sample

T = TypeVar("T")

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
DECADES = "twenties thirties forties fifties sixties seventies eighties nineties".split()
OLDEST = 116  # the oldest labelled age in years
RACES = {"white": "white", "black": "black", "asian": "asian", "indian": "indian"}  # "other" has no word
PARTS_OF_RACES = {"east asian": "asian", "southeast asian": "asian"}  # FairFace's
GENERAL_WORDS = Path(__file__).with_name("general_words.txt")
BLANK = re.compile(r"\{\w+\}")
POSSESSIVE = {"male": "his", "female": "her", None: "their"}
# What a sentence calls the person, by gender.
PRONOUNS = {
    "they": {"male": "he", "female": "she", None: "this person"},
    "them": {"male": "him", "female": "her", None: "this person"},
    "their": {"male": "his", "female": "her", None: "the"},
}

EXACT = (
    ("adjective", "{age} year old"), ("adjective", "{age} year old"), ("adjective", "{age} years old"),
    ("adjective", "{age}"), ("with", "aged {age}"), ("with", "of age {age}"), ("with", "{age} years old"),
    ("with", "of {age}"), ("with", "about {age} years old"), ("with", "around {age}"), ("with", "{age} years of age"),
    ("with", "of {age} years"), ("with", "who is {age} years old"), ("with", "who looks {age}"),
    ("with", "at the age of {age}"), ("with", "who turned {age}"), ("with", "roughly {age} years old"),
    ("with", "approximately {age} years of age"), ("with", "who is about {age}"), ("with", "who must be {age}"),
    ("with", "{age} yrs old"), ("with", "age {age}"),
)  # fmt: skip
IN_DECADE = (
    "in the {decade}", "in {possessive} {decade}", "in {possessive} {first}s", "in the {first}s",
    "between {first} and {last}", "{first} to {last} years old", "from {first} to {last}", "{first} something",
)  # fmt: skip
OLDER = (
    "older than {age}", "over {age}", "above {age}", "more than {age} years old", "past {age}",
    "not younger than {age}",
)  # fmt: skip
YOUNGER = ("younger than {age}", "under {age}", "below {age}", "less than {age} years old", "not yet {age}")

# How often a caption speaks of something.
SAYS_AGE, SAYS_GENDER, SAYS_RACE = 0.75, 0.65, 0.2
ATTRIBUTE_COUNTS = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3)
POSITIVE_WEIGHT = 6.0  # of a statement that something is there, against one that it is not
MISSPELLED = 0.04
OPPOSITE_HINT = 0.25
SAYS_SENTENCE = 0.35  # of the statements that have sentences
BESIDE_SENTENCE = 2  # statements of a caption, at most, where one is a sentence
IN_PLURAL = 0.08
OLDEST_TAUGHT = 95  # few photos are of older people

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


class AgeWords(NamedTuple):
    """How a caption speaks of the age: `age` in years of a named age, `ages` of a range."""

    slot: str
    text: str
    age: float | None = None
    ages: Ages = LIFETIME


class Draft(NamedTuple):
    """Everything that decides a caption's text. `dice` in [0, 1) pick among synonyms and word orders."""

    noun: Noun
    gender: str | None
    race: str | None
    age: AgeWords | None
    statements: tuple[Statement, ...]
    dice: tuple[float, ...]


@dataclass(frozen=True)
class Caption:
    """A text and what must hold of a face for the text to be true of it; None means that it says nothing of it.

    Attributes:
        text: what the text tower reads.
        age: years, when the text names one.
        ages: first and last age in whole years, when it names a range: at 29.5 one is still in the twenties.
        gender, race: in the words of the labels.
        literals: measured attributes, as (column, +1 or -1).
        sufficient: False for a text that can be refuted but not confirmed, such as "angry" (see `captions.toml`).
        draft: what the text was made from, for its opposite.
    """

    text: str
    age: float | None = None
    ages: Ages | None = None
    gender: str | None = None
    race: str | None = None
    literals: tuple[Literal, ...] = ()
    sufficient: bool = True
    draft: Draft | None = field(default=None, repr=False, compare=False)


class Agreement(NamedTuple):
    """How true each caption is of each sample, in [0, 1], and which pairs cannot be told (their truth is 0)."""

    truth: Float[Tensor, "sample caption"]
    unknown: Bool[Tensor, "sample caption"]


def caption(
    sample: Sample, attributes: Int8[np.ndarray, " attribute"] | None, chance: random.Random
) -> Caption:
    """A random true caption of the sample; `attributes` is its row of the attribute table, None where unmeasured."""
    gender = sample.gender if chance.random() < SAYS_GENDER else None
    race = RACES.get(_race(sample) or "") if chance.random() < SAYS_RACE else None
    age = _age_words(sample.age, chance) if chance.random() < SAYS_AGE else None
    noun = _noun(sample.age, gender, chance, plain=age is not None)
    statements = _true_statements(attributes, chance)
    if age and age.slot == "sentence":
        statements = statements[: BESIDE_SENTENCE - 1]
    dice = tuple(chance.random() for _ in range(10 + len(statements)))
    return _written(Draft(noun, gender, race, age, statements, dice))


def opposite(
    caption: Caption,
    sample: Sample,
    attributes: Int8[np.ndarray, " attribute"] | None,
    chance: random.Random,
) -> Caption | None:
    """The caption with one thing turned, so that it is false of the sample; None where nothing can be turned."""
    draft = caption.draft
    if draft is None:
        return None
    refuted = [hint for hint in caption_words().hints if not hint.literals and _refutes(sample, hint)]
    if refuted and chance.random() < OPPOSITE_HINT:
        dice = (*draft.dice, chance.random())
        return _written(draft._replace(statements=(*draft.statements, chance.choice(refuted)), dice=dice))
    turns = list(range(len(draft.statements)))
    turns += [-1] * (draft.age is not None) + [-2] * (draft.gender is not None and sample.gender is not None)
    if not turns:
        return None
    turn = chance.choice(turns)
    if turn == -1:
        return _written(_with_other_age(draft, sample, chance))
    if turn == -2:
        gender = "female" if sample.gender == "male" else "male"
        return _written(draft._replace(gender=gender, noun=_noun(sample.age, gender, chance, plain=True)))
    false = _false_statements(draft.statements[turn], attributes, chance)
    if not false:
        return None
    statements = list(draft.statements)
    statements[turn] = chance.choice(false)
    return _written(draft._replace(statements=tuple(statements)))


def attribute_pair(column: int, chance: random.Random) -> tuple[str, str]:
    """Two texts alike but for one attribute: true where it is clearly there, and where it is clearly not.

    Where no words say that it is not there, the second text says nothing of it.
    """
    noun = _noun(30.0, None, chance, plain=True)
    dice = tuple(chance.random() for _ in range(11))
    texts = []
    for sign in (1, -1):
        statements = [each for each in _by_literal().get((column, sign), ()) if len(each.literals) == 1]
        named = (replace(chance.choice(statements), sentences=()),) if statements else ()
        texts.append(_text(Draft(noun, None, None, None, named, dice)))
    return texts[0], texts[1]


def _refutes(sample: Sample, hint: Statement) -> bool:
    """Whether a hint is false of the sample by its labels."""
    other_gender = None not in (hint.gender, sample.gender) and hint.gender != sample.gender
    return other_gender or not _holds(hint.ages, sample.age)


def agreement(
    samples: Sequence[Sample],
    attributes: Int8[Tensor, "sample attribute"] | None,
    captions: Sequence[Caption],
    sigma: float,
) -> Agreement:
    """What each caption is of each sample: true, false or unknown (METHOD 6, multi-positive).

    True is a Gaussian of `sigma` years round a named age times 1 or 0 for everything else that the text says. It is
    unknown where no part is false and one is not labelled, not clearly measured, or cannot be confirmed.
    """
    age = torch.tensor([float(sample.age) for sample in samples]).unsqueeze(1)
    low = torch.tensor([float(c.ages[0]) if c.ages else 0.0 for c in captions])
    high = torch.tensor([float(c.ages[1]) if c.ages else 1e3 for c in captions])
    named = torch.tensor([float("nan") if c.age is None else float(c.age) for c in captions])
    truth = torch.exp(-((age - named) ** 2) / (2 * sigma**2)).nan_to_num(1.0)
    truth = truth * ((age >= low) & (age < high + 1))
    unknown = (~torch.tensor([c.sufficient for c in captions])).expand(len(samples), -1)
    for label in ("gender", "race"):
        same, silent = _same_label(samples, captions, label)
        truth, unknown = truth * same, unknown | silent
    false, unclear = _literals(attributes, captions, len(samples))
    truth = truth * ~false
    unknown = (unknown | unclear) & (truth > 1e-3)
    return Agreement(truth.masked_fill(unknown, 0.0), unknown)


def _same_label(
    samples: Sequence[Sample], captions: Sequence[Caption], label: str
) -> tuple[Bool[Tensor, "sample caption"], Bool[Tensor, "sample caption"]]:
    """Whether the label is not another than the caption's, and whether the caption names one that is not known."""
    codes: dict[str | None, int] = {None: 0}

    def code(labels: Iterable[str | None]) -> Tensor:
        return torch.tensor([codes.setdefault(each, len(codes)) for each in labels])

    own = code(_race(each) if label == "race" else each.gender for each in samples).unsqueeze(1)
    stated = code(getattr(each, label) for each in captions)
    return (own == stated) | (own == 0) | (stated == 0), (own == 0) & (stated != 0)


def _race(sample: Sample) -> str | None:
    return PARTS_OF_RACES.get(sample.race or "", sample.race)


def _literals(
    attributes: Tensor | None, captions: Sequence[Caption], count: int
) -> tuple[Bool[Tensor, "sample caption"], Bool[Tensor, "sample caption"]]:
    """Whether an attribute is the contrary of what the caption says, and whether one that it names is unclear."""
    required = torch.zeros(len(captions), len(ATTRIBUTES))
    for row, item in enumerate(captions):
        for column, sign in item.literals:
            required[row, column] = sign
    table = torch.zeros(count, len(ATTRIBUTES)) if attributes is None else attributes.cpu().float()
    contrary = table.clamp(min=0) @ required.clamp(max=0).T + table.clamp(max=0) @ required.clamp(min=0).T
    return contrary < 0, (table == 0).float() @ required.abs().T > 0


def _age_words(age: float, chance: random.Random) -> AgeWords:
    kind = chance.random()
    years = round(age)
    if kind < 0.5:
        slot, text = chance.choice(EXACT)
        return AgeWords(slot, text.format(age=_number(years, chance)), age=age)
    if kind < 0.62 and 20 <= age < 100:
        first = int(age) // 10 * 10
        text = chance.choice(IN_DECADE).format(
            decade=DECADES[first // 10 - 2], first=first, last=first + 9, possessive="{possessive}"
        )
        return AgeWords("with", text, ages=(first, first + 9))
    if kind < 0.8:
        return _relation(age, chance)
    return _stage([stage for stage in caption_words().stages if _holds(stage.ages, age)], chance)


def _relation(age: float, chance: random.Random) -> AgeWords:
    """Older or younger than some age that is up to 30 years away."""
    away = 3 + int(chance.random() * 28)
    if chance.random() < age / 80:
        limit = max(1, int(age) - away) if age >= 2 else 0
        return AgeWords("with", chance.choice(OLDER).format(age=_number(limit, chance)), ages=(limit, 120))
    limit = int(age) + away
    return AgeWords("with", chance.choice(YOUNGER).format(age=_number(limit, chance)), ages=(0, limit - 1))


def _stage(stages: Sequence[Stage], chance: random.Random) -> AgeWords:
    stage = chance.choice(stages)
    slot, text = chance.choice(stage.phrases)
    return AgeWords(slot, text, ages=stage.ages)


def _number(years: int, chance: random.Random) -> str:
    return number_words(years) if chance.random() < 0.2 else str(years)


def _holds(ages: Ages, age: float) -> bool:
    return ages[0] <= age < ages[1] + 1


@cache
def _nouns(gender: str | None, years: int) -> tuple[list[Noun], list[Noun]]:
    """Nouns that fit: the plain ones of the gender, and all."""
    fitting = [noun for noun in caption_words().nouns if noun.gender == gender and _holds(noun.ages, years)]
    widest = max(noun.ages[1] - noun.ages[0] for noun in fitting)
    return [noun for noun in fitting if noun.ages[1] - noun.ages[0] == widest], fitting


def _noun(age: float, gender: str | None, chance: random.Random, *, plain: bool) -> Noun:
    plainest, fitting = _nouns(gender, int(age))
    return chance.choice(plainest if plain and chance.random() < 0.8 else fitting)


@cache
def _by_literal() -> dict[Literal, list[Statement]]:
    """Statements by the first literal that they need."""
    table: dict[Literal, list[Statement]] = {}
    for statement in caption_words().statements:
        table.setdefault(statement.literals[0], []).append(statement)
    return table


def _true_statements(attributes: np.ndarray | None, chance: random.Random) -> tuple[Statement, ...]:
    count = chance.choice(ATTRIBUTE_COUNTS)
    if attributes is None or count == 0:
        return ()
    facts = attributes.tolist()
    fitting = [
        statement
        for literal, statements in _by_literal().items()
        if facts[literal[0]] == literal[1]
        for statement in statements
        if all(facts[column] == sign for column, sign in statement.literals)
    ]
    weights = [POSITIVE_WEIGHT if statement.literals[0][1] > 0 else 1.0 for statement in fitting]
    picked: list[Statement] = []
    spoken: set[str] = set()
    for statement in chance.choices(fitting, weights, k=2 * count) if fitting else ():
        topics = {TOPICS.get(ATTRIBUTES[column], ATTRIBUTES[column]) for column in statement.columns}
        if len(picked) < count and not topics & spoken:
            picked.append(statement)
            spoken |= topics
    return tuple(picked)


# Attributes of which a caption names only one.
TOPICS = {
    name: topic
    for topic, names in {
        "tone": ("black_and_white", "warm", "cold", "vivid"),
        "contrast": ("faded", "strong_contrast", "low_contrast"),
        "brightness": ("dark", "bright"),
        "detail": ("blurry", "sharp", "low_resolution"),
        "side": ("lit_from_left", "lit_from_right"),
        "turn": ("turned_left", "turned_right"),
        "tilt": ("looking_up", "looking_down"),
        "mouth": ("mouth_open", "mouth_wide_open"),
    }.items()
    for name in names
}


def _false_statements(
    true: Statement, attributes: np.ndarray | None, chance: random.Random
) -> list[Statement]:
    """Statements about the same attributes that are false where the given one is true."""
    if attributes is None:
        return []
    words = caption_words()
    pool = words.hints if chance.random() < OPPOSITE_HINT else words.statements
    facts = attributes.tolist()
    topics = {TOPICS.get(ATTRIBUTES[column], ATTRIBUTES[column]) for column in true.columns}
    return [
        statement
        for statement in pool
        if statement.of_photo == true.of_photo
        and any(facts[column] == -sign for column, sign in statement.literals)
        and topics & {TOPICS.get(ATTRIBUTES[column], ATTRIBUTES[column]) for column in statement.columns}
    ]


def _with_other_age(draft: Draft, sample: Sample, chance: random.Random) -> Draft:
    """The draft with age words that are false of the sample, and a noun that fits them."""
    for _ in range(20):
        other = chance.randint(0, 95)
        words = _age_words(other, chance)
        far = words.age is None or abs(words.age - sample.age) > max(10.0, sample.age / 3)
        if far and (words.age is not None or not _holds(words.ages, sample.age)):
            return draft._replace(age=words, noun=_noun(other, draft.gender, chance, plain=True))
    age = 5 if sample.age > 40 else 80
    words = AgeWords("with", f"aged {age}", age=age)
    return draft._replace(age=words, noun=_noun(age, draft.gender, chance, plain=True))


def _written(draft: Draft) -> Caption:
    """The caption of a draft: its text, and what must hold for it."""
    parts = (draft.noun, draft.age, *draft.statements)
    low = max(part.ages[0] for part in parts if part)
    high = min(part.ages[1] for part in parts if part)
    genders = {draft.gender, *(statement.gender for statement in draft.statements)} - {None}
    return Caption(
        text=_text(draft),
        age=draft.age.age if draft.age else None,
        # "a woman with a beard"
        ages=NOBODY if len(genders) > 1 else None if (low, high) == LIFETIME else (low, high),
        gender=next(iter(genders), None),
        race=draft.race,
        literals=tuple(literal for statement in draft.statements for literal in statement.literals),
        sufficient=all(statement.sufficient for statement in draft.statements),
        draft=draft,
    )


@dataclass
class _Phrases:
    """What a caption says, by where it can stand."""

    adjective: list[str] = field(default_factory=list)
    with_: list[str] = field(default_factory=list)
    verb: list[str] = field(default_factory=list)
    photo: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    sentence: str = ""


def _text(draft: Draft) -> str:
    """A caption's words, in one of several forms."""
    form, *dice = draft.dice
    if form < IN_PLURAL and not sentence_of(draft)[0]:
        text = _in_plural(draft, dice)
    else:
        phrases = _phrases(draft, dice[-len(draft.statements) :])
        noun = _pick(draft.noun.singular, dice[0])
        if phrases.sentence:
            text = _around_sentence(draft, noun, phrases, dice)
        elif form < 0.20:
            text = _as_tags(noun, phrases, dice)
        elif form < 0.35:
            text = _as_sentence(noun, draft.gender, phrases, dice)
        elif form < 0.60:
            text = _as_noun_phrase(noun, phrases, dice)
        else:
            text = _as_photo(noun, phrases, dice)
    text = _misspelled(text, dice) if dice[1] < MISSPELLED else text
    return text + ("." if dice[2] < 0.25 else "")


def sentence_of(draft: Draft) -> tuple[str, Statement | None]:
    """The whole sentence in a draft's text, with its blanks, and the statement that it stands for where it is not the
    age that it tells; "" where there is none. One at most: a text tower reads 30 tokens."""
    if draft.age and draft.age.slot == "sentence":
        return draft.age.text, None
    if draft.dice[0] >= IN_PLURAL and len(draft.statements) <= BESIDE_SENTENCE:
        for statement, die in zip(draft.statements, draft.dice[-len(draft.statements) :], strict=False):
            if statement.sentences and die < SAYS_SENTENCE:
                return _pick(statement.sentences, die / SAYS_SENTENCE), statement
    return "", None


def without_sentence(draft: Draft, chance: random.Random) -> str:
    """What a draft says, in a caption of other words and without a whole sentence."""
    age = draft.age
    if age and age.slot == "sentence":
        years = chance.uniform(age.ages[0], min(age.ages[1], OLDEST_TAUGHT) + 1)
        age = AgeWords("adjective", f"{int(years)} year old", age=years)
    statements = tuple(replace(statement, sentences=()) for statement in draft.statements)
    dice = (chance.uniform(IN_PLURAL, 1), *(chance.random() for _ in draft.dice[1:]))
    return _text(draft._replace(age=age, statements=statements, dice=dice))


def _phrases(draft: Draft, dice: Sequence[float], *, plural: bool = False) -> _Phrases:
    phrases = _Phrases()
    possessive = "their" if plural else POSSESSIVE[draft.gender]
    phrases.sentence, by = sentence_of(draft)
    for statement, die in zip(draft.statements, dice, strict=False):
        if statement is by:
            continue
        options = statement.phrases
        slot, text = _pick([o for o in options if o[0] != "verb"] if plural else options, die)
        getattr(phrases, "with_" if slot == "with" else slot).append(text.replace("{possessive}", possessive))
    if draft.age and draft.age.slot != "sentence":
        text = draft.age.text.replace("{possessive}", possessive)  # of the gender that a turned caption has
        (phrases.adjective if draft.age.slot == "adjective" else phrases.with_).append(text)
    if dice and dice[0] < 0.5:
        phrases.adjective.reverse()
        phrases.with_.reverse()
    if draft.race:
        phrases.adjective.append(draft.race)
    return phrases


def _person(noun: str, phrases: _Phrases) -> str:
    """ "a smiling old man in his seventies who looks up"."""
    words = " ".join([*phrases.adjective, noun])
    text = " ".join([article(words), words, *phrases.with_])
    return f"{text} who {' and '.join(phrases.verb)}" if phrases.verb else text


def _around_sentence(draft: Draft, noun: str, phrases: _Phrases, dice: Sequence[float]) -> str:
    """ "nothing about this person is sad", "a smiling man: the nose throws no shadow, a blurry photo"."""
    text, person = phrases.sentence, _person(noun, phrases)
    shown = [*phrases.photo, *phrases.tail]
    if "{person}" in text:
        text = text.replace("{person}", person)
    elif draft.gender or draft.noun.ages != LIFETIME or phrases.adjective or phrases.with_ or phrases.verb:
        text = f"{person}{_pick((':', '.', ','), dice[4])} {text}" if dice[3] < 0.7 else f"{text}, {person}"
    for blank, words in PRONOUNS.items():
        text = text.replace(f"{{{blank}}}", words[draft.gender])
    return ", ".join([text, *shown])


def _as_photo(noun: str, phrases: _Phrases, dice: Sequence[float]) -> str:
    """ "a blurry photo of a smiling man, in black and white"."""
    frame = caption_words().photo
    photo = " ".join([*phrases.photo, _pick(frame.nouns, dice[3])])
    opening = "this is " if dice[4] < 0.1 else ""
    link = _pick(frame.links, dice[5])
    text = f"{opening}{article(photo)} {photo} {link} {_person(noun, phrases)}"
    return (", " if dice[6] < 0.5 else " ").join([text, *phrases.tail])


def _as_noun_phrase(noun: str, phrases: _Phrases, dice: Sequence[float]) -> str:
    """ "there is a smiling man, blurry"; without the article now and then."""
    text = _person(noun, phrases)
    if dice[3] < 0.3:
        text = text.split(" ", 1)[1]
    elif dice[3] < 0.7:
        text = f"{_pick(caption_words().photo.openings, dice[4])} {text}".lstrip()
    return ", ".join([text, *phrases.photo, *phrases.tail])


def _as_sentence(noun: str, gender: str | None, phrases: _Phrases, dice: Sequence[float]) -> str:
    """ "she looks like a smiling woman", "the man is old and smiles", "is this a serious man?"."""
    frame = caption_words().photo
    shown = [*phrases.photo, *phrases.tail]
    if dice[3] < 0.15:
        return ", ".join([f"{_pick(frame.questions, dice[4])} {_person(noun, phrases)}?", *shown])
    if dice[3] < 0.25:
        return ", ".join([f"{_pick(frame.exclaims, dice[4])} {_person(noun, phrases)}", *shown])
    if dice[3] < 0.5 or not phrases.adjective:
        subject = _pick(frame.subjects_of(gender), dice[4])
        return ", ".join([f"{subject} {_pick(frame.looks, dice[5])} {_person(noun, phrases)}", *shown])
    look = _pick(frame.looks, dice[5])
    subject = f"{_pick(('the', 'this', 'that'), dice[4])} {noun}"
    says = [f"{look} {' and '.join(phrases.adjective)}", *phrases.with_, *phrases.verb]
    return ", ".join([f"{subject} {' and '.join(says)}", *shown])


def _as_tags(noun: str, phrases: _Phrases, dice: Sequence[float]) -> str:
    """ "old, smiling, man, black and white"."""
    tags = [noun, *phrases.adjective, *phrases.with_, *phrases.verb, *phrases.photo, *phrases.tail]
    start = int(dice[3] * len(tags))
    return (", " if dice[4] < 0.7 else " ").join(tags[start:] + tags[:start])


def _in_plural(draft: Draft, dice: Sequence[float]) -> str:
    """ "black and white photos of smiling women"."""
    phrases = _phrases(draft, dice[-len(draft.statements) :], plural=True)
    frame = caption_words().photo
    people = " ".join([*phrases.adjective, _pick(draft.noun.plural, dice[0]), *phrases.with_])
    if dice[3] < 0.5 or phrases.photo:
        people = f"{' '.join([*phrases.photo, _pick(frame.plurals, dice[4])])} of {people}"
    return ", ".join([people, *phrases.tail])


def _misspelled(text: str, dice: Sequence[float]) -> str:
    """The text with one of its words misspelled, as people do."""
    misspellings = caption_words().misspellings
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if word in misspellings]
    if places:
        place = _pick(places, dice[7])
        words[place] = _pick(misspellings[words[place]], dice[8])
    return " ".join(words)


def _pick(options: Sequence[T], die: float) -> T:
    return options[int(die * len(options))]


def article(phrase: str) -> str:
    """The article that captions put before a phrase: "a child", "an adult"; before digits always "a"."""
    return "an" if phrase[0] in "aeiou" else "a"


@cache
def vocabulary() -> tuple[str, ...]:
    """Every text piece that a caption can be made of; its words are the words that the text tower learns."""
    pieces = [
        *caption_words().texts(),
        *TEMPLATES,
        *DECADES,
        *RACES,
        *ONES,
        *TENS,
        "one hundred and",
        *IN_DECADE,
        *(word for words in PRONOUNS.values() for word in words.values()),
    ]
    pieces += [text for _, text in EXACT] + [*OLDER, *YOUNGER]
    pieces += [str(age) for age in range(OLDEST + 31)] + list(POSSESSIVE.values())
    pieces += ["this is a an the that who and of, . ?"]
    return tuple(BLANK.sub(" ", piece) for piece in pieces)


def misspellings() -> frozenset[str]:
    """Words of the vocabulary that are misspelled."""
    return frozenset(word for spellings in caption_words().misspellings.values() for word in spellings)


@cache
def general_words() -> tuple[str, ...]:
    """Further common words for people and photos: the text tower has an embedding of their tokens, but learns none."""
    return tuple(GENERAL_WORDS.read_text(encoding="utf-8").split())
