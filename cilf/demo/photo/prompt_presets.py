"""Sets of prompts to start from. None asks for race.

Where the loaded text tower does not know a set's words, the page does not offer it.
"""

from typing import NamedTuple


class Pair(NamedTuple):
    """Two opposite prompts, each with a short name for its end of a balance."""

    first: str
    second: str
    first_prompt: str
    second_prompt: str


def _of_person(first: str, second: str, form: str) -> Pair:
    return Pair(first, second, form.format(first), form.format(second))


# The texts are those whose fit `python -m train words` measures.
PAIRS: dict[str, tuple[Pair, ...]] = {
    "Expression": (
        _of_person("smiling", "serious", "a photo of a {} person"),
        Pair(
            "mouth open",
            "mouth closed",
            "a photo of a person with an open mouth",
            "a photo of a person with a closed mouth",
        ),
        _of_person("looking left", "looking right", "a photo of a person {}"),
        _of_person("looking up", "looking down", "a photo of a person {}"),
    ),
    "Light": (
        _of_person("bright", "dark", "a {} photo of a person"),
        _of_person("warm light", "cold light", "a photo of a person, in {}"),
        _of_person("lit from the left", "lit from the right", "a photo of a person, {}"),
        _of_person("strong contrast", "low contrast", "a photo of a person, with {}"),
    ),
    "Photo": (
        _of_person("black and white", "colour", "a {} photo of a person"),
        _of_person("sharp", "blurry", "a {} photo of a person"),
        Pair("noisy", "low noise", "a noisy photo of a person", "a photo of a person, with low noise"),
        _of_person("vivid colours", "muted colours", "a photo of a person, with {}"),
    ),
}
"""Name of a set → opposites that are shown as balances."""

PRESETS: dict[str, tuple[str, ...]] = {
    "Life stages": (
        "a photo of a child",
        "a photo of a teenager",
        "a photo of a young adult",
        "a photo of a middle aged person",
        "a photo of an old person",
    ),
    "Ages": tuple(f"a photo of a {age} year old person." for age in (5, 12, 18, 25, 35, 45, 55, 65, 75, 85)),
    "Decades": (
        "a photo of a child",
        "a photo of a teenager",
        *(
            f"a photo of a person in their {decade}"
            for decade in ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties")
        ),
    ),
    "Appearance": (
        "a photo of a baby",
        "a photo of a little girl",
        "a photo of a teenage boy",
        "a photo of a young woman",
        "a photo of a middle aged man",
        "a photo of an elderly woman",
        "a photo of a grandfather",
    ),
} | {
    name: tuple(prompt for pair in pairs for prompt in (pair.first_prompt, pair.second_prompt))
    for name, pairs in PAIRS.items()
}
"""Name on its button → prompts, youngest first where they are ages."""

START = "Life stages"
"""The set that stands in the editor at first."""
