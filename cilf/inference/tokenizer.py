"""CLIP's tokenizer: byte pair encoding of lower-case texts (Sennrich et al., 2016), and the words that a tower knows.

The merges are the file of open_clip, which is not imported: that takes PyTorch's seconds. open_clip's own tokenizer
gives the same ids.
"""

import gzip
import html
import re
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import ftfy
import numpy as np
import regex
from jaxtyping import Int

from cilf.model.config import ClipConfig

START, END = "<start_of_text>", "<end_of_text>"
PIECE = regex.compile(
    rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
)
MERGES = (
    49_152 - 256 - 2
)  # of the file's lines, after a heading: with letters and marks they are the vocabulary
WORD = re.compile(r"[^\W\d_]+|\d+")

# More than the captions of training hold; at most 120 letters each, they take a few megabytes.
MAX_CACHED_WORDS = 10_000

# difflib's ratio from which a known word is offered for an unknown one: "glases" for "glasses" has 0.92, "tiger" for
# "tired" 0.6.
LIKENESS = 0.7


class Tokenizer:
    """Texts → token ids of a text tower; needs no tower, so that a worker process can use it."""

    def __init__(self, config: ClipConfig, context_length: int) -> None:
        self._context_length = context_length
        self._ranks, self._ids = _vocabulary()
        self._map = _token_map(config, len(self._ids))
        self.ids_of_word = lru_cache(MAX_CACHED_WORDS)(self._ids_of_word)

    def __call__(self, texts: list[str]) -> Int[np.ndarray, "text token"]:
        """Cut to the longest text; a text longer than the context is cut off."""
        start, end = self._ids[START], self._ids[END]
        rows = [[start, *self._ids_of_text(text)[: self._context_length - 2], end] for text in texts]
        ids = np.zeros((len(rows), max(map(len, rows), default=0)), np.int64)
        for row, numbers in zip(ids, rows, strict=True):
            row[: len(numbers)] = numbers
        return self._map[ids]

    def _ids_of_text(self, text: str) -> list[int]:
        clean = html.unescape(html.unescape(ftfy.fix_text(text)))
        words = PIECE.findall(" ".join(clean.split()).lower())
        return [number for word in words for number in self.ids_of_word(word)]

    def _ids_of_word(self, word: str) -> tuple[int, ...]:
        """The word's bytes, joined pair by pair, the earliest merge of the vocabulary first."""
        if word in (START, END):
            return (self._ids[word],)
        pieces = [_letters()[byte] for byte in word.encode()]
        pieces[-1] += "</w>"
        while len(pieces) > 1:
            never = len(self._ranks)
            rank, at = min((self._ranks.get(pair, never), at) for at, pair in enumerate(pairwise(pieces)))
            if rank == never:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return tuple(self._ids[piece] for piece in pieces)


def unknown_words(config: ClipConfig, text: str) -> list[str]:
    """Words of `text` that no training caption contained, in order, each once; empty for open-text towers."""
    if config.words is None:
        return []
    known = set(config.words)
    return list(dict.fromkeys(word for word in WORD.findall(text.lower()) if word not in known))


def nearest_words(config: ClipConfig, text: str) -> dict[str, list[str]]:
    """Unknown word of `text` → at most three known words that are written much like it, the nearest first."""
    unknown = unknown_words(config, text)
    offered = sorted(set(config.words or ()) - set(config.misspelled)) if unknown else []
    return {word: get_close_matches(word, offered, n=3, cutoff=LIKENESS) for word in unknown}


@lru_cache(1)
def _vocabulary() -> tuple[dict[tuple[str, ...], int], dict[str, int]]:
    """Each merge's rank, and each piece's id."""
    merges, letters = _merges(), list(_letters().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    return ranks, {piece: number for number, piece in enumerate(pieces)}


def _merges() -> list[tuple[str, ...]]:
    package = find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    content = gzip.decompress(Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes())
    return [tuple(line.split()) for line in content.decode().split("\n")[1 : MERGES + 1]]


@lru_cache(1)
def _letters() -> dict[int, str]:
    """A printable letter for every byte: its own where it has one, else one from 256 on, in the vocabulary's order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = sorted(set(range(256)) - set(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _token_map(config: ClipConfig, vocabulary_size: int) -> Int[np.ndarray, " vocabulary"]:
    """Full CLIP id → id in this tower. Order is kept, so the end token stays the highest; unknown ids share slot 0,
    which padding uses too: padding stands behind the end token, where causal attention hides it."""
    if config.token_ids is None:
        return np.arange(vocabulary_size)
    mapping = np.zeros(vocabulary_size, np.int64)
    mapping[list(config.token_ids)] = np.arange(1, len(config.token_ids) + 1)
    return mapping
