"""Which words name an age best? Families of age prompts, as they are and with the rest of the model fitted to them.

Every family is a function of the label's age alone, and the captions that taught the text tower were made from the same
labels. So the study compares wordings; it is no evidence that appearance words see anything beyond the age.
"""

from collections.abc import Callable

from train.data.captions import DECADES, STAGES, article, number_words


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
