"""Which words name an age best? Families of age prompts, as they are and with the rest of the model fitted to them.

Every family is a function of the label's age alone, and the captions that taught the text tower were made from the same
labels. So the study compares wordings; it is no evidence that appearance words see anything beyond the age.
"""

from collections.abc import Callable

from train.data.captions import DECADES, article, number_words

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


def _decade(age: int) -> str:
    if age < 10:
        return "child"
    if age < 20:
        return "teenager"
    return f"person in their {DECADES[min(age, 99) // 10 - 2]}"


def _gendered(age: int) -> tuple[str, str]:
    young = age < 16
    return f"a {age} year old {'boy' if young else 'man'}", f"a {age} year old {'girl' if young else 'woman'}"


FAMILIES: dict[str, Callable[[int], tuple[str, ...]]] = {
    "number": lambda age: (f"{age} years old",),
    "sentence": lambda age: (f"a photo of a {age} year old person.",),
    "number in words": lambda age: (f"a photo of a person, {number_words(age)} years old.",),
    "decade": lambda age: (f"a photo of a {_decade(age)}.",),
    "appearance": lambda age: tuple(
        f"a photo of {article(words)} {words}."
        for words, (first, last) in STAGES.items()
        if first <= age <= last
    ),
    "with gender": _gendered,
}
ENSEMBLE = "ensemble of all"


def texts(family: str, age: int) -> tuple[str, ...]:
    """The prompts of one family for one age."""
    if family == ENSEMBLE:
        return tuple(text for own in FAMILIES.values() for text in own(age))
    return FAMILIES[family](age)
