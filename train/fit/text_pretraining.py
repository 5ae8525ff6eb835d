"""Teach a text tower the words of the captions from texts alone, before the first photo.

A tower that learned ages alone ignores all other words: texts that differ in one of them have nearly the same
embedding, and where these agree an image-text loss has no gradient for either tower. So a new text tower first learns
where each text shall lie. The place of a text that names an age (or a range), a gender, a race and attributes s of
sign ±1 is

    normalize(e + g Σ s · u_s)

with e the embedding that the old tower has for "a photo of a 34 year old woman" (the mean over a range), and u_s one
direction for each attribute, all perpendicular to each other and to what ages, genders and races span. The photos then
have to find these directions, as in locked-image tuning (LiT, Zhai et al., CVPR 2022) the texts do, and both towers go
on from there.

Attention learns slowly what words mean that it has never heeded. Hence the words' vectors begin as those of a bag of
words that learned the same places, which takes seconds.

A tower that knows the captions' words learns whole sentences from itself: each shall lie where the tower has captions
that say the same. Photos are not needed, and neither they nor the ages move.
"""

import copy
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from cilf.model.cilf import CILF, build_model
from cilf.model.clip import ClipTowers
from train.data.attributes import ATTRIBUTES
from train.data.captions import (
    OLDEST,
    RACES,
    Caption,
    caption,
    opposite,
    sentence_of,
    without_sentence,
)
from train.data.datasets import Sample
from train.fit.optimizer import cosine_rate
from train.fit.precision import has_bfloat16
from train.fit.recipe import Recipe

CAPTIONS = 192  # a step
RATE = 2e-3  # peak of Adam's
ROWS_RATE = 6e-3  # that of the words' vectors, of which a step's captions touch few
BETAS = (0.9, 0.98)
LONGEST = 1.0  # norm of a step's gradient
WARMUP = 0.1
AGES_EVERY = 4  # steps: the ages' own prompts are as much work as the captions
BAG_STEPS, BAG_RATE = 200, 1e-2
LEARNED = 0.5  # length of a vector in the bag of words from which the word was met often enough
LENGTH = 0.8  # g: of an attribute's direction, beside a plain text of length 1
HINT = 0.5  # share of it for words that an attribute can refute but not confirm
SPANNED = 0.999  # share of the squared lengths that the directions of ages, genders and races hold
WORDS = {"male": "man", "female": "woman", None: "person"}
AGES = range(OLDEST + 1)
TOLD_LABELS = 0.9  # of the random people have a gender and a race
AGES_WEIGHT = 3.0  # of the ages' own prompts, while the tower learns sentences
WORDINGS = 4  # captions whose mean says where a sentence lies
TOWER_PARTS = (
    "towers.clip.token_embedding.",
    "towers.clip.positional_embedding",
    "towers.clip.transformer.",
    "towers.clip.ln_final.",
    "towers.clip.text_projection",
)
TEXT_PARTS = ("prompts.", *TOWER_PARTS)


def teach_words(model: CILF, recipe: Recipe) -> None:
    """Replace the text tower and the prompts by new ones that learned for `recipe.fit.text_steps` steps, on the CPU.

    The ages' embeddings stay where they are. Texts name attributes where the photos' captions will.
    """
    config, named = recipe.fit, recipe.loss.attributes > 0
    places, ages = TextPlaces(model.towers), _age_embeddings(model)
    new = build_model(recipe.model).state_dict()
    model.load_state_dict({name: new[name] for name in new if name.startswith(TEXT_PARTS)}, strict=False)
    _begin_with_word_vectors(
        model.towers.clip.token_embedding.weight, model.towers, places, config.seed, named
    )

    def loss_of(chance: random.Random) -> Tensor:
        captions = random_captions(CAPTIONS, chance, named)
        return _distance(model.towers.encode_text([each.text for each in captions]), places(captions))

    in_bfloat16 = config.precision == "bf16" and has_bfloat16(torch.device("cpu"))
    seed = f"{config.seed}/texts"
    _learn(model, TEXT_PARTS, loss_of, ages, config.text_steps, seed, in_bfloat16=in_bfloat16)


def teach_sentences(model: CILF, recipe: Recipe) -> None:
    """Teach the text tower whole sentences for `recipe.fit.sentence_steps` steps, on the CPU, from what it makes of
    captions that say the same; all other texts, and the ages' embeddings, stay where they are."""
    places, seed = OwnPlaces(model.towers), f"{recipe.fit.seed}/sentences"

    def loss_of(chance: random.Random) -> Tensor:
        captions = _half_in_sentences(CAPTIONS, chance)
        targets = places(captions, chance)
        embeddings = model.towers.encode_text([each.text for each in captions]).float()
        # What all texts share says nothing of a photo, and most of a cosine.
        shared = targets.mean(dim=0)
        apart = F.normalize(embeddings - shared, dim=1), F.normalize(targets - shared, dim=1)
        return _distance(embeddings, targets) + _distance(*apart)

    ages, steps = _age_embeddings(model), recipe.fit.sentence_steps
    _learn(model, TOWER_PARTS, loss_of, ages, steps, seed, pace=0.5, ages_weight=AGES_WEIGHT)


def _age_embeddings(model: CILF) -> list[Float[Tensor, "age embed"]]:
    """Those of each template, as they are now."""
    with torch.no_grad():
        return [model.encode_ages(index) for index in range(len(model.prompts.config.templates))]


def _learn(
    model: CILF,
    parts: tuple[str, ...],
    loss_of: Callable[[random.Random], Tensor],
    ages: Sequence[Float[Tensor, "age embed"]],
    steps: int,
    seed: str,
    *,
    pace: float = 1.0,
    ages_weight: float = 1.0,
    in_bfloat16: bool = False,
) -> None:
    """Minimise `loss_of` over the parameters whose names begin with `parts`; `ages`, of each template, stay.

    Args:
        loss_of: the loss of a step, on captions that it draws.
        pace: of the learning rates.
        ages_weight: of what the ages' embeddings move.
        in_bfloat16: matrix products.
    """
    rows = model.towers.clip.token_embedding.weight
    learned = [each for name, each in model.named_parameters() if name.startswith(parts)]
    others = [each for each in learned if each is not rows]
    groups = [{"params": others, "peak": pace * RATE}, {"params": [rows], "peak": pace * ROWS_RATE}]
    optimizer = torch.optim.Adam(groups, betas=BETAS)
    bar = trange(steps, desc="texts", unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, group["peak"], WARMUP)
        chance = random.Random(f"{seed}/{step}")
        with torch.autocast("cpu", enabled=in_bfloat16):
            loss = loss_of(chance)
            if step % AGES_EVERY == 0:
                template = chance.randrange(len(ages))
                loss = loss + ages_weight * _distance(model.encode_ages(template), ages[template])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, LONGEST)
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    optimizer.zero_grad()


def _half_in_sentences(count: int, chance: random.Random) -> list[Caption]:
    """Random captions, half of them with a whole sentence."""
    kinds: tuple[list[Caption], list[Caption]] = ([], [])
    while min(map(len, kinds)) < count // 2:
        for each in random_captions(count, chance):
            assert each.draft is not None
            kinds[bool(sentence_of(each.draft)[0])].append(each)
    return [each for kind in kinds for each in kind[: count // 2]]


def _begin_with_word_vectors(
    rows: nn.Parameter, towers: ClipTowers, places: "TextPlaces", seed: int, named: bool
) -> None:
    """Point the token embeddings of the captions' words where a bag of words has them, at the length that they have."""
    count, width = rows.shape
    vectors = nn.Embedding(count, towers.embed_dim)
    nn.init.normal_(vectors.weight, std=rows.std().item())
    optimizer = torch.optim.Adam(vectors.parameters(), BAG_RATE, betas=BETAS)
    for step in range(BAG_STEPS):
        captions = random_captions(CAPTIONS, random.Random(f"{seed}/words/{step}"), named)
        ids = towers.tokenize([each.text for each in captions])
        bags = (vectors(ids) * (ids > 0).unsqueeze(2)).sum(dim=1)
        loss = _distance(F.normalize(bags, dim=1), places(captions))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        met = vectors.weight.norm(dim=1) > LEARNED
        turned = F.normalize(vectors.weight @ torch.randn(towers.embed_dim, width), dim=1)
        rows[met] = turned[met] * rows.norm(dim=1).median()


def random_captions(count: int, chance: random.Random, named: bool = True) -> list[Caption]:
    """Captions of random people and, where they are `named`, attributes, and with one thing turned; all can be true of
    somebody."""
    captions: list[Caption] = []
    while len(captions) < count:
        told = chance.random() < TOLD_LABELS
        gender = chance.choice(("male", "female")) if told else None
        race = chance.choice(tuple(RACES)) if told else None
        sample = Sample(Path(), "", chance.uniform(0, OLDEST), gender, race, "")
        attributes = np.array([chance.choice((-1, 1)) if named else 0 for _ in ATTRIBUTES], np.int8)
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


class OwnPlaces:
    """Where a tower, as it is now, has captions, and in the place of those with a whole sentence others that say the
    same: captions → (N, D) of unit length."""

    def __init__(self, towers: ClipTowers) -> None:
        self.towers = copy.deepcopy(towers).eval()

    @torch.no_grad()
    def __call__(self, captions: list[Caption], chance: random.Random) -> Float[Tensor, "text embed"]:
        """See the class."""
        wordings = [self._wordings(each, chance) for each in captions]
        embeddings = self.towers.encode_text([text for texts in wordings for text in texts])
        means = [part.mean(dim=0) for part in embeddings.split([len(texts) for texts in wordings])]
        return F.normalize(torch.stack(means), dim=1)

    def _wordings(self, text: Caption, chance: random.Random) -> list[str]:
        if text.draft is None or not sentence_of(text.draft)[0]:
            return [text.text]
        return [without_sentence(text.draft, chance) for _ in range(WORDINGS)]


def _distance(
    embeddings: Float[Tensor, "text embed"], targets: Float[Tensor, "text embed"]
) -> Float[Tensor, ""]:
    """Mean of 1 − cosine, both of unit length."""
    return 1 - (embeddings.float() * targets).sum(dim=1).mean()
