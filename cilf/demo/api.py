"""The page's endpoints for programs: by name for `gradio_client`, and as tools for language models (MCP).

The docstrings of the three endpoints are what a program's author and a language model read about them; Gradio takes
each parameter's description from one line. Answers travel as JSON text: `gradio_client` takes every record with a
`path` for a file and would fetch it, and Gradio writes a tool's answer down as Python shows it.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import gradio as gr

from cilf.demo import texts
from cilf.demo.limits import MAX_FILES
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.server.priority import VISITORS_FIRST
from cilf.demo.uploads import api_inputs
from cilf.demo.uploads.url_download import Budget
from cilf.errors import CilfError, PhotoError, UsageError
from cilf.photo_set.pipeline import predict_photo
from cilf.photo_set.results import Row
from cilf.prediction import FacePrediction
from cilf.similarity.scores import prompt_scores
from cilf.texts import distinct_texts

log = logging.getLogger(__name__)

# A file as `gradio_client.handle_file` sends it, or an address as language models write it.
PhotoInput = str | gr.FileData


class Endpoints:
    """Adds `/predict`, `/predict_set` and `/similarity` to the open `gr.Blocks`.

    Args:
        host: gives the estimator, once it is loaded.
        forget: called with a session's name when it was answered, to drop what Gradio keeps of it.
    """

    def __init__(self, host: ModelHost, forget: Callable[[str], None]) -> None:
        self._host = host
        self._forget = forget
        for endpoint in (self.predict, self.predict_set, self.similarity):
            # A line of their own, in which they take turns: no visitor of the page waits behind a program's set.
            gr.api(endpoint, concurrency_limit=1, concurrency_id="programs")

    def predict(
        self, photo: PhotoInput, prompts: list[str] | None = None, request: gr.Request | None = None
    ) -> str:
        """Estimate the age of every face in one photo, with its 90 % interval and the steps of its correction.

        The answer is JSON: a list with one record per face, left to right. Its keys: path (the photo's name), face (0
        is the leftmost), x0, y0, x1, y1 (the face's box in pixels), detection_score, age, age_low, age_high (years;
        calibrated to hold the true age of 90 of 100 faces like the calibration photos), initial_age, iterations, status
        ("accepted", "corrected" or "low_confidence"), over_18 ("yes", "no" or "unsure"), caveat (why no promise holds
        for this picture, in a sentence), error, trace (each step's iteration, age, estimated_error, accepted, view and
        kept_error), distribution (the probabilities of the ages 0 to 100), similarities (prompt to cosine; empty where
        the weights have no text tower) and scored_by (which text tower compared). A photo without a face gives one
        record with the status "no_face". An estimate from a picture is no fact about a person and must not be used to
        decide about anybody.

        Args:
            photo: The photo: an uploaded file, an http(s) address of a picture, or a data: address with its bytes.
            prompts: Texts to compare with each face, as ["an old man"]; at most 100, of 120 letters. None by default.

        Returns:
            JSON: a list of records, one per face.
        """

        def answer() -> list[Row]:
            records = self._records(self._host.get(), [photo], _checked(prompts or []))
            if records[0]["status"] == "unreadable":
                raise PhotoError(records[0]["error"])
            return records

        return self._answer(answer, [photo], request)

    def predict_set(self, files: list[PhotoInput], request: gr.Request | None = None) -> str:
        """Estimate the ages of the faces in several photos; one bad file does not stop the others.

        Addresses have two minutes together; those that do not come in this time are listed as unreadable.

        The answer is JSON: a list of records like those of predict: one per face, and one for each file without a face
        (status "no_face") or that cannot be read (status "unreadable"), with the reason as its error.

        Args:
            files: The photos, at most 100, each an uploaded file, an http(s) address of a picture, or a data: address.

        Returns:
            JSON: a list of records, in the order of the files.
        """

        def answer() -> list[Row]:
            if not isinstance(files, list):
                raise UsageError("files is not a list; give a list of photos")
            if len(files) > MAX_FILES:
                raise UsageError(f"there are {len(files)} files; give at most {MAX_FILES} at a time")
            return self._records(self._host.get(), files)

        return self._answer(answer, files, request)

    def similarity(
        self, photo: PhotoInput, prompts: list[str], face: int = 0, request: gr.Request | None = None
    ) -> str:
        """Say how well texts fit one face of a photo, such as "a child" or "an old man".

        The answer is JSON: a list with one record per prompt: prompt, similarity (the cosine of face and prompt, from
        -1 to 1), above_neutral (by how much it is above that of "a photo of a person": the bar of the page), share (the
        prompts against each other; they sum to 1), unknown_words (words that the model never met in training, about
        which its answer says little), nearest_words (each of them with known words like it) and scored_by (which text
        tower compared). Weights that compare no texts answer with an error.

        Args:
            photo: The photo: an uploaded file, an http(s) address of a picture, or a data: address with its bytes.
            prompts: The texts to compare with the face, such as ["a child", "an old man"]; at most 100, of 120 letters.
            face: Which face, counted from the left; 0 is the leftmost.

        Returns:
            JSON: a list of records, one per prompt.
        """

        def answer() -> list[Row]:
            chosen_texts = _checked(prompts)
            estimator = self._host.get()
            upload = api_inputs.read(photo)
            with VISITORS_FIRST.other(), upload.decoded() as picture:
                chosen = _chosen(estimator.predict(picture), face, upload.name)
            return [
                score.record() | {"unknown_words": list(score.nearest_words)}
                for score in prompt_scores(estimator, chosen, chosen_texts)
            ]

        return self._answer(answer, [photo], request)

    def _records(self, estimator: Estimator, photos: Sequence[Any], prompts: Sequence[str] = ()) -> list[Row]:
        """The command line's rows of photos, each with what else is known of the face, or None without a face."""
        budget = Budget()

        @contextmanager
        def content(photo: Any) -> Iterator[bytes]:
            upload = api_inputs.read(photo, budget)
            with VISITORS_FIRST.other(), upload.held() as data:
                yield data

        # In this process alone, photo by photo: so visitors pass between any two.
        results = (
            predict_photo(estimator, api_inputs.name_of(photo), partial(content, photo), prompts)
            for photo in photos
        )
        scored_by = estimator.scored_by
        return [
            row | _details(face, scored_by)
            for result in results
            for row, face in zip(result.rows, result.faces or (None,), strict=True)
        ]

    def _answer(self, work: Callable[[], list[Row]], photos: Any, request: gr.Request | None) -> str:
        """Do the work; an error reaches the program as one sentence, and nothing of a photo the log."""
        try:
            with VISITORS_FIRST.other():
                pass  # what will be refused lets visitors pass, too
            records = work()
        except CilfError as error:
            raise gr.Error(texts.sentence(error), print_exception=False) from None
        except Exception as error:
            log.exception("a program's request could not be answered")
            raise gr.Error(texts.UNEXPECTED, print_exception=False) from error
        finally:
            api_inputs.discard(photos)
            if request is not None:
                self._forget(str(request.session_hash))
        return json.dumps(records)


def _details(face: FacePrediction | None, scored_by: str) -> Row:
    return {
        "trace": face and [asdict(step) for step in face.trace],
        "distribution": face and face.distribution.astype(float).tolist(),
        "similarities": face and face.similarities,
        "scored_by": face and scored_by,
    }


def _chosen(faces: list[FacePrediction], number: int, name: str) -> FacePrediction:
    if not faces:
        raise UsageError(f"no face was found in '{name}'; give a photo with a face")
    if not isinstance(number, int) or not 0 <= number < len(faces):
        raise UsageError(
            f"face is {number!r}, and '{name}' shows {len(faces)}; give a number from 0 to {len(faces) - 1}"
        )
    return faces[number]


def _checked(prompts: Any) -> list[str]:
    if not isinstance(prompts, list):
        raise UsageError("prompts is not a list; give a list of texts")
    return distinct_texts(prompts)
