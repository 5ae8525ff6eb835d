"""`python -m cilf`: the command line over `AgeEstimator` and `cilf.photo_set`."""

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Never

from tqdm import tqdm

import cilf
from cilf.errors import CilfError, UsageError
from cilf.photo_set import (
    COLUMNS,
    PhotoResult,
    Row,
    check_output,
    find_photos,
    partial_path,
    predict_photos,
    write_table,
)
from cilf.similarity.scores import HELPED, NEUTRAL, ComparesTexts, prompt_scores
from cilf.texts import distinct_texts

_OK, _BROKEN_PIPE, _ERROR, _INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    0: every file has its row, be it one that says why there is no age. 2: a usage or model error, in one sentence on
    stderr. 130: stopped by Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    if arguments.verbose:
        logging.basicConfig()
        logging.getLogger("cilf").setLevel(logging.DEBUG)
    else:
        # The Hub's client, which reads this when it is imported, would report each retry; the outcome is enough.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    rows_by_status: Counter[str] = Counter()
    try:
        _predict(arguments, rows_by_status)
    except CilfError as error:
        _say(f"{error}{_what_is_left(arguments, rows_by_status)}")
        return _ERROR
    except KeyboardInterrupt:
        _say(f"stopped{_what_is_left(arguments, rows_by_status)}")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has enough; without this, Python complains once more while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return _OK


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse would print the whole usage before it."""

    def error(self, message: str) -> Never:
        self.exit(_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cilf", description="Estimate the age of every face in photos.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"cilf {cilf.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    predict = commands.add_parser(
        "predict",
        help="write a table with a row for every face",
        description="Estimate the age of every face in the photos. The table has a row for every face, and one "
        "for every file in which no face was found or that cannot be read.",
        allow_abbrev=False,
    )
    predict.add_argument(
        "paths", nargs="+", metavar="PATH", help="a photo, or a folder that is walked for photos"
    )
    predict.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the table to a .csv, .json or .parquet file; without it, one to read is printed",
    )
    predict.add_argument(
        "--weights",
        metavar="SOURCE",
        help="a checkpoint folder, USER/REPO on the Hugging Face Hub, mtmsa, or clip:MODEL/WEIGHTS for prompts scored "
        "by a published CLIP; without it, the bundled CILF",
    )
    predict.add_argument(
        "--prompts",
        nargs="+",
        action="extend",
        default=[],
        metavar="TEXT",
        help="texts to compare with each face, after the paths: adds each one's similarity (cosine), by how much that "
        f"is above the one of “{NEUTRAL}”, and its share among them",
    )
    predict.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    predict.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, mps (default: cpu)")
    predict.add_argument(
        "--no-face",
        choices=["skip", "whole"],
        default="skip",
        help="a photo without a face gives a row that says so (skip), or is itself taken as the face (whole)",
    )
    predict.add_argument("--verbose", action="store_true", help="report on stderr what went wrong inside")
    return parser


def _predict(arguments: argparse.Namespace, rows_by_status: Counter[str]) -> None:
    # What is wrong with output or photos comes out before the seconds that the model takes to load.
    if arguments.output is not None:
        check_output(arguments.output)
    photos, prompts = _photos(arguments.paths), distinct_texts(arguments.prompts)
    estimator = cilf.AgeEstimator.from_pretrained(
        arguments.weights,
        revision=arguments.revision,
        device=arguments.device,
    )
    if prompts:
        _warn_of_unknown_words(estimator, prompts)
    # None: a bar only where stderr is a terminal; none between the lines of a printed table.
    with tqdm(photos, unit="photo", disable=None if arguments.output else True) as progress:
        results = predict_photos(estimator, progress, no_face=arguments.no_face)
        scored = chain.from_iterable(_scored(estimator, result, prompts) for result in results)
        rows = _counted(scored, rows_by_status)
        if arguments.output is None:
            _print_table(rows, prompts)
            return
        write_table(rows, arguments.output, (*COLUMNS, *_prompt_columns(prompts)))
    _say(
        f"{rows_by_status.total()} rows from {len(photos)} photos in '{arguments.output}'; without a face "
        f"{rows_by_status['no_face']}, unreadable {rows_by_status['unreadable']}"
    )


def _photos(paths: list[str]) -> list[tuple[str, Path]]:
    photos_of = {path: list(find_photos(path)) for path in paths}
    empty = [path for path, photos in photos_of.items() if not photos]
    if len(empty) == len(photos_of):
        folders = ", ".join(f"'{path}'" for path in empty)
        raise UsageError(f"no photo was found in {folders}; name photos, or folders with photos in them")
    for path in empty:
        _say(f"no photo was found in '{path}'; going on with the others")
    return [photo for path in paths for photo in photos_of[path]]


def _warn_of_unknown_words(estimator: ComparesTexts, prompts: list[str]) -> None:
    """Say which words the text tower does not know. Raises UsageError where there is none."""
    unknown = estimator.unknown_words(prompts)
    for prompt, words in estimator.nearest_words(list(unknown)[:HELPED]).items():
        named = ", ".join(
            f"'{word}'" + (f" (try {' or '.join(known)})" if known else "") for word, known in words.items()
        )
        _say(f"the prompt '{prompt}' has words not seen in training: {named}")


_MEASURES = ("similarity", "above_neutral", "share")


def _prompt_columns(prompts: list[str]) -> list[str]:
    columns = [f"{measure}: {prompt}" for prompt in prompts for measure in _MEASURES]
    return [*columns, "scored_by"] if columns else []


def _scored(estimator: ComparesTexts, result: PhotoResult, prompts: list[str]) -> Iterator[Row]:
    """A photo's rows with a value for each of `_prompt_columns`."""
    if not prompts or not result.faces:
        yield from result.rows
        return
    for row, face in zip(result.rows, result.faces, strict=True):
        scores = [score.record() for score in prompt_scores(estimator, face, prompts)]
        values = {f"{measure}: {each['prompt']}": each[measure] for each in scores for measure in _MEASURES}
        yield row | values | {"scored_by": estimator.scored_by}


def _counted(rows: Iterable[Row], rows_by_status: Counter[str]) -> Iterator[Row]:
    for row in rows:
        yield row
        rows_by_status[row["status"]] += 1


def _what_is_left(arguments: argparse.Namespace, rows_by_status: Counter[str]) -> str:
    if arguments.output is None or not rows_by_status:
        return ""
    return f"; the {rows_by_status.total()} rows so far are in '{partial_path(arguments.output)}'"


_LINE = "{age:>6}  {interval:>14}  {initial:>7}  {steps:>5}  {status:<14}  {face:>4}  {box:<24}  {photo}"


def _print_table(rows: Iterable[Row], prompts: list[str]) -> None:
    """Print rows as they come, in columns of fixed width; the photo's name, of any width, stands last. Below each face
    a line for each prompt."""
    headings = {"age": "age", "interval": "interval", "initial": "initial", "steps": "steps"}
    headings |= {"status": "status", "face": "face", "box": "box: x0 y0 x1 y1", "photo": "photo"}
    print(_LINE.format(**headings))
    for row in rows:
        print(_line(row), flush=True)
        if row["face"] is not None:
            for prompt in prompts:
                above, share = row[f"above_neutral: {prompt}"], row[f"share: {prompt}"]
                print(f"        fit {above:+.3f}  share {share:4.0%}  {_printable(prompt)}", flush=True)


def _line(row: Row) -> str:
    if row["face"] is None:
        known = {"age": "-", "interval": "-", "initial": "-", "steps": "-", "face": "-", "box": "-"}
        return _LINE.format(**known, status=row["status"], photo=_printable(row["error"]))
    return _LINE.format(
        age=f"{row['age']:.2f}",
        interval=f"{row['age_low']:.2f}-{row['age_high']:.2f}",
        initial=f"{row['initial_age']:.2f}",
        steps=row["iterations"],
        status=row["status"],
        face=row["face"],
        box=" ".join(f"{row[edge]:.0f}" for edge in ("x0", "y0", "x1", "y1")),
        photo=_printable(row["path"]),
    )


def _say(sentence: str) -> None:
    print(f"cilf: {_printable(sentence)}", file=sys.stderr)


def _printable(text: str) -> str:
    """Escape what a terminal cannot show or would obey: a file's name may hold any byte."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
