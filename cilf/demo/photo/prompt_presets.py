"""Sets of prompts to start from. They use only words that the bundled text tower met in training."""

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
}
"""Name on its button -> prompts, youngest first."""

START = "Life stages"
"""The set that stands in the editor at first."""
