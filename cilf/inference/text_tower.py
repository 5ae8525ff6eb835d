"""CLIP's text tower in NumPy: prompts and the ages' own texts become embeddings without PyTorch (METHOD 3).

It computes what `cilf.model.clip.ClipTowers` and `cilf.model.prompts.AgePrompts` compute: open_clip's transformer with
causal attention and normalisation before each part (Radford et al., 2021).
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from jaxtyping import Float, Int

from cilf.inference.familiarity import normalized
from cilf.inference.predictive import softmax
from cilf.inference.tokenizer import Tokenizer
from cilf.model.config import ModelConfig, PromptConfig

Array = np.ndarray

DEFAULT_HEADS = 8  # of open_clip's `text_cfg`
EPSILON = 1e-5  # of its layer normalisation


class TextTower:
    """Texts → unit embeddings; may be shared between threads."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Array]) -> None:
        clip = config.clip
        text = clip.architecture.get("text_cfg", {})
        self._prompts = config.prompts
        self._tensors = tensors
        self._positions = tensors["model.towers.clip.positional_embedding"]
        self._heads = text.get("heads", DEFAULT_HEADS)
        self._activation = _quick_gelu if clip.architecture.get("quick_gelu") else _gelu
        self._layers = sum(
            name.startswith("model.towers.clip.transformer.") and name.endswith("in_proj_bias")
            for name in tensors
        )
        self.tokenizer = Tokenizer(clip, len(self._positions))
        self.scale = min(float(np.exp(tensors["model.towers.clip.logit_scale"])), 100.0)

    def encode_text(self, texts: list[str]) -> Float[Array, "text embed"]:
        """Texts → unit text embeddings."""
        ids = self.tokenizer(texts)
        return self._encode(self._embed(ids), ids.argmax(axis=1))

    def encode_ages(self) -> Float[Array, "age embed"]:
        """The age prompts as `AgePrompts.forward` gives them: the learned prompt's and the mean of all templates'."""
        config = self._prompts
        ages = range(config.num_ages)
        pool = [self.encode_text([each.format(age=age) for age in ages]) for each in config.templates]
        return normalized(self._learned(config) + np.mean(pool, axis=0))

    def _learned(self, config: PromptConfig) -> Float[Array, "age embed"]:
        """[start] context… age-token "." [end]; ages between two anchors are interpolated linearly."""
        anchors, context = self._tensors["model.prompts.anchors"], self._tensors["model.prompts.context"]
        position = np.linspace(0, config.anchors - 1, config.num_ages, dtype=np.float32)[:, None]
        weights = (1 - np.abs(position - np.arange(config.anchors, dtype=np.float32))).clip(0)
        frame = self._embed(self.tokenizer(["."]))[0]
        rows = [np.concatenate([frame[:1], context, age[None], frame[1:]]) for age in weights @ anchors]
        return self._encode(np.stack(rows), np.full(len(rows), len(rows[0]) - 1))

    def _embed(self, ids: Int[Array, "text token"]) -> Float[Array, "text token width"]:
        return self._tensors["model.towers.clip.token_embedding.weight"][ids]

    def _encode(
        self, embedded: Float[Array, "text token width"], end: Int[Array, " text"]
    ) -> Float[Array, "text embed"]:
        """Token embeddings and the position of each end token → unit text embeddings.

        What all texts begin with is computed once: most of an age's text is that of the other ages.
        """
        x = embedded + self._positions[: embedded.shape[1]]
        same = (embedded == embedded[:1]).all(axis=(0, 2))
        shared = min(int(same.argmin()), int(end.min())) if len(x) > 1 and not same.all() else 0
        before = self._transform(x[:1, :shared], [])[1] if shared else []
        x, _ = self._transform(x[:, shared:], before)
        x = self._normalize("ln_final", x[np.arange(len(x)), end - shared])
        return normalized(x @ self._tensors["model.towers.clip.text_projection"])

    def _transform(
        self, x: Float[Array, "text token width"], before: list[Array]
    ) -> tuple[Float[Array, "text token width"], list[Array]]:
        """All layers, and their keys and values; `before` holds those of the tokens that all texts begin with."""
        kept = []
        for layer in range(self._layers):
            part = f"transformer.resblocks.{layer}."
            mixed, keys_values = self._attend(
                part, self._normalize(f"{part}ln_1", x), before[layer : layer + 1]
            )
            kept.append(keys_values)
            x = x + mixed
            hidden = self._activation(self._linear(f"{part}mlp.c_fc.", self._normalize(f"{part}ln_2", x)))
            x = x + self._linear(f"{part}mlp.c_proj.", hidden)
        return x, kept

    def _attend(
        self, part: str, x: Float[Array, "text token width"], before: list[Array]
    ) -> tuple[Float[Array, "text token width"], Array]:
        """Multi-head attention in which a token sees those before it; and its keys and values."""
        count, length, width = x.shape
        projected = self._linear(f"{part}attn.in_proj_", x).reshape(count, length, 3, self._heads, -1)
        query, *own = projected.transpose(2, 0, 3, 1, 4)
        earlier = [np.broadcast_to(each, (2, count, *each.shape[2:])) for each in before]
        key, value = keys_values = np.concatenate([*earlier, np.stack(own)], axis=3)
        scores = query @ key.swapaxes(2, 3) / np.float32(sqrt(width // self._heads))
        after = np.full(scores.shape[2:], -np.inf, np.float32)
        mixed = softmax(scores + np.triu(after, k=1 + key.shape[2] - length)) @ value
        return self._linear(f"{part}attn.out_proj.", mixed.swapaxes(1, 2).reshape(x.shape)), keys_values

    def _linear(self, name: str, x: Float[Array, "text token inputs"]) -> Float[Array, "text token outputs"]:
        weight, bias = (self._tensors[f"model.towers.clip.{name}{kind}"] for kind in ("weight", "bias"))
        return (x.reshape(-1, x.shape[-1]) @ weight.T + bias).reshape(*x.shape[:-1], -1)

    def _normalize(self, name: str, x: Float[Array, "*rows width"]) -> Float[Array, "*rows width"]:
        weight, bias = (self._tensors[f"model.towers.clip.{name}.{kind}"] for kind in ("weight", "bias"))
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(EPSILON)) * weight + bias


def _quick_gelu(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    return x / (1 + np.exp(-1.702 * x))


def _gelu(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """x Φ(x). erf by formula 7.1.26 of Abramowitz and Stegun, whose error of 1.5e-7 is about that of single precision;
    SciPy's, in a package of its own, takes longer to import than the ages' texts take to compute."""
    away = np.abs(x) * np.float32(sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * away)
    series = np.polynomial.polynomial.polyval(
        t, np.array([0, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429], np.float32)
    )
    tail = series * np.exp(-away * away) / 2  # Φ(−|x|)
    return x * np.where(x < 0, tail, 1 - tail)
