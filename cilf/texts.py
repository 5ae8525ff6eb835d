"""Texts that are compared with faces: how many there may be, and how long."""

from collections.abc import Collection

from cilf.errors import UsageError

# A description of a face in one sentence; CLIP itself reads 77 tokens. The time that a word takes to be tokenized grows
# with the square of its length.
MAX_LETTERS = 120

# So many are encoded at once. More can be compared in several calls of `AgeEstimator.similarity`.
MAX_TEXTS = 100


def distinct_texts(prompts: Collection[str]) -> list[str]:
    """Check the prompts and give each once, in their order.

    Raises:
        UsageError: they are one text instead of several, more than `MAX_TEXTS`, or one is empty or longer than
            `MAX_LETTERS`.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Collection):
        raise UsageError("prompts is not a list of texts; give a list of texts")
    if len(prompts) > MAX_TEXTS:
        raise UsageError(f"there are {len(prompts)} prompts; give at most {MAX_TEXTS} at a time")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise UsageError("a prompt is empty or no text; give texts")
        if len(prompt) > MAX_LETTERS:
            raise UsageError(
                f"the prompt '{prompt[:20]}…' has {len(prompt)} letters; give prompts of at most {MAX_LETTERS}"
            )
    return list(dict.fromkeys(prompts))
