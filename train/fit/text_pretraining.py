"""Teach the text tower the words of the captions from texts alone, before the first photo.

A tower that learned ages alone ignores all other words: texts that differ in one of them have nearly the same
embedding, and where these agree an image-text loss has no gradient for either tower. So each text first gets a place to
go to. The target of a text that names an age (or a range), a gender, a race and attributes s of sign ±1 is

    normalize(e + g Σ s · u_s)

with e the embedding that the tower has always had for "a photo of a 34 year old woman" (the mean over a range), and
u_s one direction for each attribute, all perpendicular to each other and to what ages, genders and races span.
The photos then have to find these directions, as in locked-text tuning (LiT, Zhai et al., CVPR 2022, the other way
round), and both towers go on from there.
"""

import copy
import random
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from cilf.model.cilf import CILF
from cilf.model.clip import ClipTowers
from train.data.attributes import ATTRIBUTES
from train.data.captions import OLDEST, RACES, Caption, caption, opposite
from train.data.datasets import Sample
from train.fit.optimizer import cosine_rate
from train.fit.recipe import FitConfig

CAPTIONS = 192  # a step
RATE = 2e-3  # peak of Adam's
WARMUP = 0.1
LENGTH = 0.5  # g: of an attribute's direction, beside a plain text of length 1
HINT = 0.5  # share of it for words that an attribute can refute but not confirm
SPANNED = 0.999  # share of the squared lengths that the directions of ages, genders and races hold
WORDS = {"male": "man", "female": "woman", None: "person"}
AGES = range(OLDEST + 1)
TOLD_LABELS = 0.9  # of the random people have a gender and a race


def teach_words(model: CILF, config: FitConfig) -> None:
    """Train the text tower and the prompts for `config.text_steps` steps, on the CPU; the ages' embeddings stay."""
    targets = TextPlaces(model.towers)
    with torch.no_grad():
        templates = [model.encode_ages(index) for index in range(len(model.prompts.config.templates))]
    clip = model.towers.clip
    parts = (clip.token_embedding, clip.transformer, clip.ln_final, model.prompts)
    learned = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.Adam([*learned, clip.positional_embedding, clip.text_projection], RATE)
    bar = trange(config.text_steps, desc="texts", unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, config.text_steps, RATE, WARMUP)
        chance = random.Random(f"{config.seed}/texts/{step}")
        captions = random_captions(CAPTIONS, chance)
        template = chance.randrange(len(templates))
        with torch.autocast("cpu", enabled=config.precision == "bf16"):
            embeddings = model.towers.encode_text([each.text for each in captions])
            ages = model.encode_ages(template)
        loss = _distance(embeddings, targets(captions)) + _distance(ages, templates[template])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    optimizer.zero_grad()


def random_captions(count: int, chance: random.Random) -> list[Caption]:
    """Captions of random people and attributes, and with one thing turned; all can be true of somebody."""
    captions: list[Caption] = []
    while len(captions) < count:
        told = chance.random() < TOLD_LABELS
        gender = chance.choice(("male", "female")) if told else None
        race = chance.choice(tuple(RACES)) if told else None
        sample = Sample(Path(), "", chance.uniform(0, OLDEST), gender, race, "")
        attributes = np.array([chance.choice((-1, 1)) for _ in ATTRIBUTES], np.int8)
        text = caption(sample, attributes, chance)
        captions += [
            each for each in (text, opposite(text, sample, attributes, chance)) if each and _possible(each)
        ]
    return captions[:count]


def _possible(text: Caption) -> bool:
    first, last = text.ages or (0, OLDEST)
    return first <= min(last, OLDEST)


class TextPlaces:
    """Where the embeddings of captions shall lie: captions → (N, D) of unit length."""

    def __init__(self, towers: ClipTowers) -> None:
        self.towers = copy.deepcopy(towers).eval()
        everybody = torch.cat([self.plain(gender, race) for gender in WORDS for race in (None, *RACES)])
        _, lengths, axes = torch.linalg.svd(everybody, full_matrices=True)
        held = (lengths**2).cumsum(0) / (lengths**2).sum()
        free = axes[int((held < SPANNED).sum()) + 1 :]
        if len(free) < len(ATTRIBUTES):
            raise ValueError(f"{len(ATTRIBUTES)} attributes need as many free directions, not {len(free)}")
        generator = torch.Generator().manual_seed(0)
        mixed = torch.linalg.qr(torch.randn(len(free), len(ATTRIBUTES), generator=generator)).Q
        self.directions = (free.T @ mixed).T
        """(A, D), perpendicular to each other, of unit length."""

    @cache  # noqa: B019  # lives as long as the pretraining
    def plain(self, gender: str | None, race: str | None) -> Float[Tensor, "age embed"]:
        """The embedding that the tower has always had for people of each age."""
        people = " ".join(word for word in (RACES.get(race or ""), WORDS[gender]) if word)
        with torch.no_grad():
            return self.towers.encode_text([f"a photo of a {age} year old {people}" for age in AGES])

    def __call__(self, captions: list[Caption]) -> Float[Tensor, "text embed"]:
        """See the class."""
        return torch.stack([self._of(each) for each in captions])

    def _of(self, text: Caption) -> Float[Tensor, " embed"]:
        ages = self.plain(text.gender, text.race)
        if text.age is not None:
            place = ages[round(text.age)]
        else:
            first, last = text.ages or (0, OLDEST)
            place = F.normalize(ages[first : last + 1].mean(dim=0), dim=0)
        length = LENGTH if text.sufficient else LENGTH * HINT
        for column, sign in text.literals:
            place = place + length * sign * self.directions[column]
        return F.normalize(place, dim=0)


def _distance(
    embeddings: Float[Tensor, "text embed"], targets: Float[Tensor, "text embed"]
) -> Float[Tensor, ""]:
    """Mean of 1 − cosine, both of unit length."""
    return 1 - (embeddings.float() * targets).sum(dim=1).mean()
