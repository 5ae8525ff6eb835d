"""Hostile inputs by number: the same seed and number give the same input, in any process."""

import json
import random
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image

from tests.hostile import seeds
from tests.hostile.mutation import as_bytes, damaged, damaged_json, damaged_text, spliced
from tests.stand_in import packed

Case = tuple[str, Any]
"""The target's name and its input."""

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}

EVENT = {"data": ["a child"], "fn_index": 0, "session_hash": "x", "event_data": None, "trigger_id": 1}
FRAME = {"picture": "data:image/jpeg;base64,aGVsbG8=", "at": 1.5, "first": True}
CALL = {"data": FRAME, "component_id": 0, "fn_name": "live_frame", "session_hash": "x"}
PREDICT = {"photo": "data:image/png;base64,aGVsbG8=", "prompts": ["a child", "an old man"]}
RECORD = {"path": "/tmp/a.png", "orig_name": "a.png", "url": None, "meta": {"_type": "gradio.FileData"}}
UPLOAD = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


def _photo(rng: random.Random) -> bytes:
    files = list(seeds.photos().values())
    if rng.random() < 0.05:
        return damaged(rng.choice(list(seeds.foreign_files().values())), rng)
    return spliced(files, rng) if rng.random() < 0.05 else damaged(rng.choice(files), rng)


def _scene(rng: random.Random) -> bytes:
    """A picture that mostly opens: noise, an even field or a portrait, of many sizes, in some format."""
    size = rng.choice(((64, 48), (120, 160), (16, 16), (16, 900), (900, 18), (200, 200)))
    scene = rng.choice(
        (seeds.picture(), seeds.portrait(), Image.new("RGB", (9, 9), rng.choice(("black", "white"))))
    )
    scene = scene.resize(size).rotate(rng.choice((0, 0, 90, 13)))
    data = seeds.saved(scene, *rng.choice((("PNG",), ("BMP",), ("JPEG",), ("WEBP",), ("TIFF",))))
    return damaged(data, rng) if rng.random() < 0.4 else data


def _archive(rng: random.Random) -> bytes:
    if rng.random() < 0.7:
        return damaged(rng.choice(list(seeds.archives().values())), rng)
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    members = {
        f"x{damaged_text('a.png', rng)}".encode("utf-8", "replace").decode(): _photo(rng) for _ in range(3)
    }
    return packed(members, method).getvalue()


def _config(rng: random.Random) -> bytes:
    value = seeds.configuration() if rng.random() < 0.7 else seeds.mtmsa_configuration()
    for _ in range(rng.choice((1, 1, 3))):
        value = damaged_json(value, rng)
    return as_bytes(value, rng)


def _report(rng: random.Random) -> bytes:
    return as_bytes(
        damaged_json({"weights_sha256": "a" * 64, "test": {"mae": 4.5, "groups": [1, 2]}}, rng), rng
    )


def _text(options: tuple[str, ...], rng: random.Random) -> str:
    text = rng.choice(options)
    for _ in range(rng.choice((1, 1, 3))):
        text = damaged_text(text, rng)
    return text


def _prompts(rng: random.Random) -> Any:
    if rng.random() < 0.4:
        return _text(seeds.PROMPTS, rng)
    prompts = [_text(seeds.PROMPTS, rng) if rng.random() < 0.7 else each for each in seeds.PROMPTS]
    return damaged_json(prompts, rng) if rng.random() < 0.3 else prompts


def _record(rng: random.Random) -> Any:
    return damaged_json(rng.choice((RECORD, [RECORD], {**RECORD, "path": rng.choice(seeds.ADDRESSES)})), rng)


def _endpoint(rng: random.Random) -> tuple[str, dict[str, Any]]:
    name = rng.choice(("predict", "predict_set", "similarity"))
    values = dict(PREDICT, photo=rng.choice((PREDICT["photo"], RECORD, *seeds.ADDRESSES)))
    if name == "predict_set":
        values = {"files": [values["photo"], RECORD]}
    if name == "similarity":
        values["face"] = 0
    changed = {
        key: damaged_json(value, rng) if rng.random() < 0.7 else value for key, value in values.items()
    }
    return name, changed


def _body(rng: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    event, call = partial(damaged_json, rng=rng), rng.choice((CALL, CALL, {**CALL, "fn_name": "live_stop"}))
    makers: tuple[Callable[[], tuple[str, str, bytes, dict[str, str]]], ...] = (
        lambda: ("POST", "/gradio_api/queue/join", as_bytes(event(EVENT), rng), JSON),
        lambda: ("POST", "/gradio_api/run/predict", as_bytes(event(EVENT), rng), JSON),
        lambda: ("POST", "/gradio_api/call/predict", as_bytes(event({"data": ["", None]}), rng), JSON),
        lambda: ("POST", "/gradio_api/component_server/", _call(call, rng), JSON),
        lambda: ("POST", "/gradio_api/upload", _upload(rng), FORM),
        lambda: ("POST", "/photo-set/{token}/photo", _photo(rng), _place(rng)),
        lambda: ("POST", "/photo-set/{token}/archive", _archive(rng), _place(rng)),
        lambda: ("POST", f"/photo-set/{{token}}/{rng.choice(('next', 'start', 'finish'))}", b"", {}),
        lambda: ("GET", "/gradio_api/" + _text(("file=/tmp/a.png", "queue/status"), rng), b"", {}),
        lambda: ("GET", "/photo-set/{token}/" + _text(("table.csv", "table.parquet"), rng), b"", {}),
        lambda: ("POST", "/gradio_api/reset", as_bytes(event({"event_id": "a"}), rng), JSON),
        lambda: ("POST", "/gradio_api/cancel", as_bytes(event({"event_id": "a", "fn_index": 0}), rng), JSON),
    )
    method, path, content, headers = rng.choice(makers)()
    if rng.random() < 0.1:
        headers = {damaged_text(name, rng): damaged_text(value, rng) for name, value in headers.items()}
    return method, _as_path(path), content, headers


def _call(call: dict[str, Any], rng: random.Random) -> bytes:
    changed = {**call, "data": damaged_json(FRAME, rng)} if rng.random() < 0.7 else damaged_json(call, rng)
    return json.dumps(changed).replace('"component_id": 0', '"component_id": LIVE').encode()


def _upload(rng: random.Random) -> bytes:
    return damaged(UPLOAD + seeds.photos()["png L"] + b"\r\n--b--\r\n", rng)


def _place(rng: random.Random) -> dict[str, str]:
    return {
        "Cilf-Name": _text(("a.png", "b%20c.jpg"), rng),
        "Cilf-Place": rng.choice(("0", "7", "-1", "x", "9" * 30)),
    }


def _as_path(path: str) -> str:
    """What an HTTP client can send as the path."""
    return "".join(letter for letter in path if "!" <= letter <= "~")


OPENERS: dict[str, tuple[int, Callable[[random.Random], Any]]] = {
    "photo": (70, _photo),
    "upload": (30, _photo),
    "file": (2, _photo),
    "path": (2, partial(_text, ("photos/a.png", "/tmp/a.jpg", "a" * 300))),
    "archive": (22, _archive),
    "config": (14, _config),
    "report": (3, _report),
    "address": (8, partial(_text, seeds.ADDRESSES)),
    "record": (5, _record),
    "prompts": (4, _prompts),
    "row": (1, partial(_text, ("a.png", "=1+1.jpg"))),
    "endpoint": (12, _endpoint),
    "body": (7, _body),
}
"""Target → its share, and the maker of its inputs."""

PREDICTIONS: dict[str, tuple[int, Callable[[random.Random], Any]]] = {
    "predict": (1, _scene),
}


def case(seed: int, number: int, predictions: bool) -> Case:
    """Input number `number` of a run: for openers, parsers and API bodies, or for predictions."""
    makers = PREDICTIONS if predictions else OPENERS
    rng = random.Random(f"{seed}/{predictions}/{number}")
    [kind] = rng.choices(list(makers), [share for share, _ in makers.values()])
    return kind, makers[kind][1](rng)
