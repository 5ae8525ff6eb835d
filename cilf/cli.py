"""`python -m cilf`: the command line over `AgeEstimator` and `cilf.photo_set`."""

import argparse
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Never

from tqdm import tqdm

import cilf
from cilf.errors import CilfError, PhotoError, UsageError
from cilf.photo_set.files import find_photos
from cilf.photo_set.journal import Journal
from cilf.photo_set.pipeline import predict_many
from cilf.photo_set.results import COLUMNS, PhotoResult, Row, unreadable
from cilf.photo_set.table import check_output, partial_path, write_table
from cilf.similarity.scores import HELPED, NEUTRAL, ComparesTexts, PromptScorer
from cilf.texts import distinct_texts
from cilf.video.annotated import check_annotated
from cilf.video.frames import require_decoder
from cilf.video.people import VIDEO_COLUMNS, VideoPredictor, is_video, predict_video

_OK, _BROKEN_PIPE, _ERROR, _INTERRUPTED, _TERMINATED = 0, 1, 2, 130, 143


class _Terminated(BaseException):
    """Somebody asked the program to end."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    0: every file has its row, be it one that says why there is no age. 2: a usage or model error, in one sentence on
    stderr. 130: stopped by Ctrl-C. 143: stopped by SIGTERM, or since the terminal was closed.
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
        with _ending_in_order():
            _predict(arguments, rows_by_status)
    except CilfError as error:
        _say(f"{error}{_what_is_left(arguments, rows_by_status)}")
        return _ERROR
    except KeyboardInterrupt:
        _say(f"stopped{_what_is_left(arguments, rows_by_status)}")
        return _INTERRUPTED
    except _Terminated:
        _say(f"stopped{_what_is_left(arguments, rows_by_status)}")
        return _TERMINATED
    except BrokenPipeError:
        # The reader (`| head`) has enough; without this, Python complains once more while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return _OK


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let what is done be written down when the program is asked to end, as at Ctrl-C."""

    def end(number: int, frame: FrameType | None) -> Never:
        for each in before:  # a second one while the first is heeded would cut the table off
            signal.signal(each, signal.SIG_IGN)
        raise _Terminated

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # Not what `nohup` has switched off, or somebody has set who is not Python.
    before = {number: each for number, each in before.items() if each not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        description="Estimate the age of every face in the photos. The table has a row for every face, of a short "
        "video one for every person, and one for every file in which no face was found or that cannot be read.",
        allow_abbrev=False,
    )
    predict.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a photo or a short video, or a folder that is walked for photos",
    )
    predict.add_argument(
        "--output",
        metavar="FILE",
        help="write the table to a .csv, .json or .parquet file; without it, a plain-text table is printed. A run that "
        "was stopped goes on from there when it is started again",
    )
    predict.add_argument(
        "--weights",
        metavar="SOURCE",
        help="a checkpoint folder, USER/REPO on the Hugging Face Hub, mtmsa, lra-gnn, mcgrl, or clip:MODEL/WEIGHTS for "
        "prompts scored by a published CLIP; without it, the bundled CILF",
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
    predict.add_argument(
        "--annotated",
        metavar="FILE",
        help="for a single video: also write a silent copy to an .mp4 file, with everybody's box, number and age",
    )
    predict.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    predict.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, mps (default: cpu)")
    predict.add_argument(
        "--no-face",
        choices=["skip", "whole"],
        default="skip",
        help="a photo without a face gives a row that says so (skip), or is itself taken as the face (whole)",
    )
    predict.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="local: this computer; ray: a cluster of any size, where paths may be addresses in an object store or "
        "Parquet files with a column of them, and the table is a folder of Parquet files (extra `ray`)",
    )
    predict.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="number of processes that find faces (local) or estimate (ray); without it, one for each processor "
        "(local: at most eight)",
    )
    predict.add_argument("--verbose", action="store_true", help="report on stderr what went wrong inside")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _predict(arguments: argparse.Namespace, rows_by_status: Counter[str]) -> None:
    if arguments.engine == "ray":
        _predict_on_cluster(arguments)
    else:
        _predict_here(arguments, rows_by_status)


def _predict_on_cluster(arguments: argparse.Namespace) -> None:
    from cilf.photo_set.ray_data import RayConfig, predict_dataset

    if arguments.output is None:
        raise UsageError("the engine ray writes a folder of Parquet files; name it with --output")
    if arguments.prompts:
        raise UsageError("the engine ray compares no prompts; leave out --prompts, or use --engine local")
    if arguments.annotated:
        raise UsageError("the engine ray reads no videos; leave out --annotated, or use --engine local")
    config = RayConfig(
        arguments.weights, arguments.revision, arguments.device, arguments.no_face, arguments.workers
    )
    rows = predict_dataset(arguments.paths, arguments.output, config)
    _say(f"{rows} rows in '{arguments.output}'")


def _predict_here(arguments: argparse.Namespace, rows_by_status: Counter[str]) -> None:
    # What is wrong with output or photos comes out before the seconds that the model takes to load.
    output = None if arguments.output is None else check_output(arguments.output)
    photos, prompts = _photos(arguments.paths), distinct_texts(arguments.prompts)
    with_videos = _check_videos(photos, arguments.annotated)
    estimator = cilf.AgeEstimator.from_pretrained(
        arguments.weights,
        revision=arguments.revision,
        device=arguments.device,
    )
    if prompts:
        _warn_of_unknown_words(estimator, prompts)
    scorer = PromptScorer(estimator, prompts) if prompts else None
    predict_photos = partial(predict_many, estimator, no_face=arguments.no_face, count=arguments.workers)

    def predict(some: list[tuple[str, Path]]) -> Iterator[list[Row]]:
        for of_videos, group in groupby(some, lambda photo: is_video(photo[1])):
            part = list(group)
            videos = (_predict_video(estimator, name, arguments.annotated) for name, _ in part)
            results = videos if of_videos else predict_photos(part)
            yield from (_scored(scorer, result) for result in results)

    if output is None:
        _print_table((row for rows in predict(photos) for row in rows), prompts)
        return
    made_by = {
        "cilf": cilf.__version__,
        "weights": estimator.sha256,
        "graph": estimator.graph_sha256,
        "no_face": arguments.no_face,
        "prompts": prompts,
        "scored_by": estimator.scored_by if prompts else "",
    }
    with Journal(output, made_by) as journal:
        done = journal.resume(name for name, _ in photos)
        stop = _fill(journal, predict(photos[done:]), len(photos))
        columns = (*COLUMNS, *(VIDEO_COLUMNS if with_videos else ()), *_prompt_columns(prompts))
        write_table(_counted(journal.rows(), rows_by_status, stop), output, columns)
        journal.remove()
    _say(
        f"{rows_by_status.total()} rows from {len(photos)} files in '{output}'; without a face "
        f"{rows_by_status['no_face']}, unreadable {rows_by_status['unreadable']}"
    )


def _fill(journal: Journal, results: Iterator[list[Row]], total: int) -> BaseException | None:
    """Write results down as they come, under a bar with rate and remaining time where stderr is a terminal.

    Returns:
        What stopped it before the last one, if anything did.
    """
    with tqdm(total=total, initial=journal.photos, unit="photo", disable=None) as progress:
        try:
            for rows in results:
                journal.add(rows)
                progress.update()
        except (CilfError, KeyboardInterrupt, _Terminated) as stop:
            return stop
    return None


def _photos(paths: list[str]) -> list[tuple[str, Path]]:
    photos_of = {path: list(find_photos(path)) for path in paths}
    empty = [path for path, photos in photos_of.items() if not photos]
    if len(empty) == len(photos_of):
        folders = ", ".join(f"'{path}'" for path in empty)
        raise UsageError(f"no photo was found in {folders}; name photos, or folders with photos in them")
    for path in empty:
        _say(f"no photo was found in '{path}'; going on with the others")
    return [photo for path in paths for photo in photos_of[path]]


def _check_videos(photos: list[tuple[str, Path]], annotated: str | None) -> bool:
    """Whether there are videos, which can then be decoded, and of which one may be annotated. Raises UsageError."""
    videos = [(name, path) for name, path in photos if is_video(path)]
    if videos:
        require_decoder(videos[0][0])
    if annotated is not None:
        if len(photos) != 1 or not videos:
            raise UsageError("--annotated is for a single video; name one, and nothing else")
        check_annotated(annotated, videos[0][1])
    return bool(videos)


def _predict_video(estimator: VideoPredictor, name: str, annotated: str | None) -> PhotoResult:
    """The people in a video, under a bar of its own; `name` is its path as it was given, by which a run goes on."""
    with tqdm(unit="frame", leave=False, disable=None) as bar:

        def progress(done: int, total: int | None) -> None:
            if done < bar.n:  # once more from the start, to annotate it
                bar.reset()
            bar.total = total
            bar.update(done - bar.n)

        try:
            return predict_video(estimator, name, annotated=annotated, progress=progress)
        except PhotoError as error:
            return unreadable(name, error)


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


def _scored(scorer: PromptScorer | None, result: PhotoResult) -> list[Row]:
    """A photo's rows with a value for each of `_prompt_columns`."""
    if scorer is None or not result.faces:
        return list(result.rows)
    rows = []
    for row, face in zip(result.rows, result.faces, strict=True):
        scores = [score.record() for score in scorer.scores(face)]
        values = {f"{measure}: {each['prompt']}": each[measure] for each in scores for measure in _MEASURES}
        rows.append(row | values | {"scored_by": scores[0]["scored_by"]})
    return rows


def _counted(rows: Iterable[Row], rows_by_status: Counter[str], stop: BaseException | None) -> Iterator[Row]:
    """Pass rows on, count them, and stop at their end if the run did, so that the table stays a partial one."""
    for row in rows:
        yield row
        rows_by_status[row["status"]] += 1
    if stop is not None:
        raise stop


def _what_is_left(arguments: argparse.Namespace, rows_by_status: Counter[str]) -> str:
    if arguments.output is None or not rows_by_status:
        return ""
    partial = partial_path(Path(arguments.output))
    return f"; the {rows_by_status.total()} rows so far are in '{partial}', and the same command goes on from there"


_LINE = "{age:>6}  {interval:>14}  {initial:>7}  {steps:>5}  {status:<14}  {over:<11}  {face:>4}  {box:<24}  {photo}"


def _print_table(rows: Iterable[Row], prompts: list[str]) -> None:
    """Print rows as they come, in columns of fixed width; the photo's name, of any width, stands last. Below each face
    a line for each prompt."""
    headings = {"age": "age", "interval": "interval", "initial": "initial", "steps": "steps"}
    headings |= {
        "status": "status",
        "over": "18 or over?",
        "face": "face",
        "box": "box: x0 y0 x1 y1",
        "photo": "photo",
    }
    print(_LINE.format(**headings))
    for row in rows:
        print(_line(row), flush=True)
        if row["face"] is not None:
            for prompt in prompts:
                above, share = row[f"above_neutral: {prompt}"], row[f"share: {prompt}"]
                print(f"        fit {above:+.3f}  share {share:4.0%}  {_printable(prompt)}", flush=True)


def _line(row: Row) -> str:
    if row["face"] is None:
        known = {
            "age": "-",
            "interval": "-",
            "initial": "-",
            "steps": "-",
            "over": "-",
            "face": "-",
            "box": "-",
        }
        return _LINE.format(**known, status=row["status"], photo=_printable(row["error"]))
    return _LINE.format(
        age=f"{row['age']:.2f}",
        interval=f"{row['age_low']:.2f}-{row['age_high']:.2f}",
        initial=f"{row['initial_age']:.2f}",
        steps=row["iterations"],
        status=row["status"],
        over=row["over_18"],
        face=row["face"],
        box=" ".join(f"{row[edge]:.0f}" for edge in ("x0", "y0", "x1", "y1")),
        photo=_printable(": ".join(filter(None, (row["path"], _seen(row), row["caveat"])))),
    )


def _seen(row: Row) -> str:
    """When a video shows the person; empty for a photo."""
    if row.get("frames") is None:
        return ""
    return f"{row['frames']} frames from {row['first_second']:.1f} to {row['last_second']:.1f} s"


def _say(sentence: str) -> None:
    print(f"cilf: {_printable(sentence)}", file=sys.stderr)


def _printable(text: str) -> str:
    """Escape what a terminal cannot show or would obey: a file's name may hold any byte."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
