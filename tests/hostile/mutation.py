"""Damage to whole inputs, by a random generator whose seed repeats it."""

import json
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

# Lengths and offsets at which readers go wrong.
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

LETTERS = (
    "\0",
    "\ud800",
    "\u202e",
    "\ufeff",
    "é",
    "e\u0301",
    "😀",
    "\r\n",
    "'",
    '"',
    "<b>",
    "%00",
    "=1+1",
    "../",
    "%s",
    "{age}",
)

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, -(10**30), 1e308, float("nan"), float("inf"), "", "a", "\0", "\ud800",
    "a" * 5000, [], {}, [[]], [None] * 300, {"": {}}, "NaN", "../../etc/passwd", "data:,", "http://[x/a.png",
    {"path": "/etc/passwd"}, {"path": None, "meta": {"_type": "gradio.FileData"}}, {"path": 7, "orig_name": []},
)  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The data after one to four pieces of damage; those of PNG files keep their checksums half of the time."""
    if data.startswith(b"\x89PNG") and rng.random() < 0.5:
        return _damaged_png(data, rng)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _damage(changed, rng)
    return bytes(changed)


def _damage(data: bytearray, rng: random.Random) -> None:
    size = len(data)
    # Headers are short, and where most goes wrong.
    start = rng.randrange(min(size, 128) if rng.random() < 0.5 else size) if size else 0
    length = rng.choice((1, 2, 4, 16, 256))
    match rng.randrange(7):
        case 0:
            del data[start:]
        case 1:
            for place in range(start, min(start + length, size)):
                data[place] = rng.randrange(256)
        case 2:
            width = rng.choice((1, 2, 4))
            number = rng.choice(NUMBERS) & (256**width - 1)
            data[start : start + width] = number.to_bytes(width, rng.choice(("little", "big")))
        case 3:
            del data[start : start + length]
        case 4:
            data[start:start] = data[start : start + length] * rng.choice((1, 2, 50))
        case 5:
            data[start : start + length] = bytes(length)
        case 6 if size:
            data[start] ^= 1 << rng.randrange(8)


def _damaged_png(data: bytes, rng: random.Random) -> bytes:
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], bytearray(data[place + 8 : place + 8 + length])))
        place += 12 + length
    match rng.randrange(4):
        case 0:
            rng.shuffle(chunks)
        case 1:
            chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
        case _:
            _damage(rng.choice(chunks)[1], rng)
    return data[:8] + b"".join(png_chunk(kind, bytes(content)) for kind, content in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def damaged_text(text: str, rng: random.Random) -> str:
    """The text with letters changed, taken out, or very often repeated."""
    start = rng.randrange(len(text) + 1)
    match rng.randrange(4):
        case 0:
            return text[:start] + rng.choice(LETTERS) * rng.choice((1, 1, 3, 200)) + text[start:]
        case 1:
            return text[:start] + text[start + rng.choice((1, 4)) :]
        case 2:
            return (
                text[:start]
                + chr(rng.choice((rng.randrange(0x250), rng.randrange(0x110000))))
                + text[start + 1 :]
            )
        case _:
            return text[start:] + text[:start]


def damaged_json(value: Any, rng: random.Random) -> Any:
    """The JSON value with one of its inner values replaced, removed, doubled or moved."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {name: inner for name, inner in value.items() if name != key}
            case 1:
                return value | {damaged_text(str(key), rng): value[key]}
            case _:
                return value | {key: damaged_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return value * rng.choice((2, 300))
            case _:
                return [*value[:place], damaged_json(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and rng.random() < 0.5:
        return damaged_text(value, rng)
    if isinstance(value, int | float) and rng.random() < 0.4:
        return value * rng.choice((-1, 0, 2, 1e3, 1e9))
    return rng.choice(VALUES)


def as_bytes(value: Any, rng: random.Random) -> bytes:
    """The JSON text of a value, itself damaged in a tenth of cases."""
    data = json.dumps(value).encode()
    return damaged(data, rng) if rng.random() < 0.1 else data


def spliced(parts: Sequence[bytes], rng: random.Random) -> bytes:
    """The start of one file and the end of another."""
    head, tail = rng.choice(parts), rng.choice(parts)
    return head[: rng.randrange(len(head) + 1)] + tail[rng.randrange(len(tail) + 1) :]
