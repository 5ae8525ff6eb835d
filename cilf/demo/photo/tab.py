"""The Photo tab: one photo in, every face's age out, and for the chosen face how the age came about."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
import numpy as np
from starlette.concurrency import run_in_threadpool

from cilf.demo import texts
from cilf.demo.charts import message
from cilf.demo.panel import panel
from cilf.demo.photo import charts, examples
from cilf.demo.photo.prompt_presets import PAIRS, PRESETS, START, Pair
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.server.priority import VISITORS_FIRST
from cilf.demo.server.sessions import Ticket, Visit, Visits
from cilf.demo.uploads.images import Upload, preview, shown
from cilf.demo.uploads.pixel_budget import IN_WORK
from cilf.errors import CilfError, PhotoError
from cilf.face import annotation
from cilf.prediction import WHOLE_PICTURE, FacePrediction, NoFace
from cilf.similarity.scores import PromptScore, prompt_scores

log = logging.getLogger(__name__)

# Predictions that may run side by side: each keeps a core busy, so more would only wait for each other.
PREDICTIONS_AT_ONCE = 2

# Choosing a face and scoring prompts are quick.
CHOICES_AT_ONCE = 8

# In the browser: the text box and the new line -> the text box with that line at its end, and an empty line.
ADD = "(prompts, line) => [[(prompts ?? '').trimEnd(), (line ?? '').trim()].filter(Boolean).join('\\n'), '']"

Updates = dict[Any, Any]
Predict = Callable[[Estimator, np.ndarray], Sequence[FacePrediction]]


def _predict(estimator: Estimator, photo: np.ndarray, no_face: NoFace = "skip") -> Sequence[FacePrediction]:
    return estimator.predict(photo, no_face=no_face)


class PhotoTab:
    """Lays the tab out in the open `gr.Blocks` and answers its events.

    Args:
        host: gives the estimator, once it is loaded.
        visits: remembers each visitor's photo while it is in view.
        forget: called with a page's session when its photo is no longer in view, to drop what Gradio keeps of the page:
            the last value of everything that it showed. Nothing on the page needs that.
    """

    def __init__(
        self, host: ModelHost, visits: Visits, forget: Callable[[str], None] = lambda session: None
    ) -> None:
        self._host = host
        self._visits = visits
        self._forget = forget
        # The newest choice in each photo
        self._choices: WeakKeyDictionary[Visit, object] = WeakKeyDictionary()
        self._examples = examples.PredictedExamples()
        with gr.Row(elem_classes="cilf-main"):
            with gr.Column(scale=5, min_width=280, elem_classes="cilf-left"):
                self._lay_out_input()
            with gr.Column(scale=7, min_width=280):
                self._lay_out_results()
        self._connect()
        host.when_ready(self._examples.predict)

    def _lay_out_input(self) -> None:
        self.photo = gr.Image(
            type="filepath",
            label="Photo",
            show_label=False,
            sources=["upload", "webcam", "clipboard"],
            webcam_options=gr.WebcamOptions(mirror=False),
            placeholder=texts.DROP_HERE,
            alt_text="The photo, each face in a numbered box",
            buttons=["fullscreen", "download"],
            elem_id="photo",
        )
        self.message = panel(message(texts.FIRST_STEP, "hint"), live=True, elem_id="message")
        self.whole = gr.Button(texts.WHOLE_PICTURE, visible=False, size="md", elem_id="whole-picture")
        self.picker = gr.Radio(
            label="Choose a face", info="or click it in the photo", visible=False, elem_id="faces"
        )
        with gr.Column(elem_classes="cilf-more"):
            if self._examples.portraits:
                panel('<p class="cilf-over">Or try a portrait</p>')
                with gr.Row(elem_classes="cilf-examples"):
                    self.example_buttons = [
                        gr.Button(example.name, elem_id=f"example-{example.key}", min_width=120)
                        for example, _ in self._examples.portraits
                    ]
                panel(_thumbnail_style(self._examples.portraits), elem_classes="cilf-hidden")
            panel(f'<p class="cilf-small">{texts.PRIVACY}</p><p class="cilf-small">{texts.LIMITS}</p>')

    def _lay_out_results(self) -> None:
        self.waiting = panel(charts.nothing_yet(), elem_id="nothing-yet")
        with gr.Column(visible=False, elem_id="results") as self.results:
            self.age = panel(elem_id="age-card")
            self.correction = panel(elem_id="correction")
            with gr.Column(elem_classes="cilf-card", elem_id="prompts"):
                panel(charts.prompts_heading())
                with gr.Row():
                    with gr.Column(scale=3, min_width=260):
                        self.scores = panel(elem_id="scores")
                    with gr.Column(scale=2, min_width=220):
                        self.prompts = gr.Textbox(
                            "\n".join(PRESETS[START]),
                            label="Prompts, one a line",
                            lines=6,
                            max_lines=12,
                            elem_id="prompt-editor",
                        )
                        self.addition = gr.Textbox(
                            label=texts.ADD_PROMPT,
                            placeholder="a photo of …",
                            max_lines=1,
                            elem_id="prompt-addition",
                        )
                        panel(f'<p class="cilf-over">{texts.PRESETS_LEAD}</p>')
                        with gr.Row(elem_classes="cilf-presets"):
                            self.presets = [
                                gr.Button(name, size="sm", min_width=40, elem_id=f"preset-{number}")
                                for number, name in enumerate(PRESETS)
                            ]
                            self.reset = gr.Button(
                                texts.RESET_PROMPTS, size="sm", min_width=40, elem_id="prompt-reset"
                            )
            with gr.Row(elem_classes="cilf-pair-row"):
                self.distribution = panel(elem_id="distribution", min_width=260)
                self.heat = panel(elem_id="heat", min_width=260)

    def _connect(self) -> None:
        # Everything that an event can change on the page. Values go out as they are (`uploads.images` says why); the
        # endpoints are the page's own, not for programs.
        answer: dict[str, Any] = {
            "outputs": [
                self.photo,
                self.message,
                self.whole,
                self.picker,
                self.waiting,
                self.results,
                self.age,
                self.correction,
                self.distribution,
                self.scores,
                self.heat,
                *self.presets,
            ],
            "preprocess": False,
            "postprocess": False,
            "api_visibility": "private",
        }
        heavy: dict[str, Any] = {
            "concurrency_limit": PREDICTIONS_AT_ONCE,
            "concurrency_id": "predict",
            "show_progress_on": [self.photo],
        }
        light: dict[str, Any] = {
            "concurrency_limit": CHOICES_AT_ONCE,
            "concurrency_id": "choose",
            "show_progress": "hidden",
        }
        # `upload` comes for files, snapshots and pastes alike; `input` would miss the pastes. By itself Gradio would
        # drop a second photo while the first one is being predicted. The file leaves the disk before it stands in line:
        # when its page is left in the meantime, Gradio drops the rest of the line's work, and nobody would remove it.
        arrival = self.photo.upload(
            self.on_arrived,
            self.photo,
            queue=False,
            trigger_mode="multiple",
            show_progress_on=[self.photo],
            **answer,
        )
        turn = arrival.then(self.on_photo, self.prompts, trigger_mode="multiple", **answer, **heavy)
        at_once: dict[str, Any] = {"queue": False, "trigger_mode": "multiple", "show_progress": "hidden"}
        # After a call that a full line has refused Gradio does nothing else.
        turn.failure(self.on_refused, **at_once, **answer)
        predictions = [turn, self.whole.click(self.on_whole, self.prompts, **answer, **heavy)]
        if self._examples.portraits:
            for number, button in enumerate(self.example_buttons):
                # Its ticket, too, is of the moment of the click, lest it overtake the photo that is chosen after it.
                chosen, refused = self._example_steps(number)
                turn = button.click(chosen, **at_once, **answer).then(
                    self._example_handler(number),
                    self.prompts,
                    trigger_mode="multiple",
                    **answer,
                    **heavy,
                )
                turn.failure(refused, **at_once, **answer)
                predictions.append(turn)
        # Not in line either: a paste begins with emptying, which must not come after the pasted picture's arrival.
        self.photo.clear(self.on_empty, queue=False, show_progress="hidden", **answer)
        # By itself Gradio would drop a second choice while the first is answered. Its "always_last" would not do: it
        # reads the picker again only when the first answer has set it back, and keeps the first click's coordinates.
        choices = [
            self.picker.input(
                self.on_pick, [self.picker, self.prompts], trigger_mode="multiple", **answer, **light
            ),
            self.photo.select(self.on_click, self.prompts, trigger_mode="multiple", **answer, **light),
        ]
        # `change` rather than `input`: pasting and the preset buttons count as well.
        scoring = answer | {"inputs": [self.prompts, self.picker], "outputs": [self.scores, self.message]}
        self.prompts.change(self.on_prompts, **scoring, **light)
        # Prompts that have changed while an answer was on its way are scored after it.
        for prediction in predictions:
            prediction.then(self.on_answered, trigger_mode="multiple", **scoring, **light)
        for choice in choices:
            choice.then(self.on_prompts, trigger_mode="multiple", **scoring, **light)
        sets = [*PRESETS.values(), PRESETS[START]]
        for button, prompts in zip([*self.presets, self.reset], sets, strict=True):
            button.click(
                partial(str, "\n".join(prompts)), outputs=self.prompts, api_visibility="private", **light
            )

        editor = [self.prompts, self.addition]
        self.addition.submit(None, editor, editor, js=ADD, api_visibility="private")

    async def on_arrived(self, payload: dict[str, Any] | None, request: gr.Request) -> Updates:
        """A photo was chosen, pasted or shot: move it from the disk to memory, where it waits for `on_photo`.

        On the event loop up to the ticket, so that tickets are in the order of the visitor's doings.
        """
        page = _page(request)
        self._forget(page)
        if not payload:  # already removed again
            self._visits.forget(page)
            return self._nothing(texts.FIRST_STEP, "hint")
        ticket = self._visits.begin(page)
        upload = await run_in_threadpool(Upload.from_payload, payload)
        if upload is None or not self._visits.arrive(page, ticket, upload):
            return self._unchanged()
        picture = await run_in_threadpool(preview, upload)
        return self._reading() | ({} if picture is None else {self.photo: picture})

    def on_photo(self, prompts: str, request: gr.Request) -> Iterator[Updates]:
        """Predict the photo that arrived last."""
        page = _page(request)
        ticket = self._visits.claim(page)
        if ticket is None:  # removed again, or answered already; a newer photo comes with a call of its own
            yield self._unchanged()
            return

        @contextmanager
        def opened() -> Iterator[np.ndarray]:
            upload = self._visits.collect(page, ticket)
            if upload is None:
                raise PhotoError(texts.FORGOTTEN)
            with upload.decoded() as photo:
                yield photo.pixels

        yield from self._answer(opened, prompts, page, ticket=ticket)

    def on_refused(self, request: gr.Request) -> Updates:
        """The newest photo got no place in line; the page has shown why (`gradio_patches.ask_to_come_back`)."""
        return self._refused(_page(request))

    def _refused(self, page: str, example: str = "") -> Updates:
        ticket = self._visits.claim(page, example)
        if ticket is None or not self._visits.put(page, ticket, None):
            return self._unchanged()  # removed again, or another call of the page has come to it
        self._forget(page)
        return self._nothing(texts.REFUSED)

    async def on_empty(self, request: gr.Request) -> Updates:
        """The photo was removed. On the event loop, as `on_arrived` says."""
        page = _page(request)
        self._visits.forget(page)
        self._forget(page)
        updates = self._nothing(texts.FIRST_STEP, "hint")
        # It is empty already; a paste begins with emptying, and this answer may come after the pasted picture.
        del updates[self.photo]
        return updates

    def on_whole(self, prompts: str, request: gr.Request) -> Iterator[Updates]:
        """No face was detected, and the visitor says that the picture is a face."""
        page = _page(request)
        visit = self._visits.get(page)
        if self._visits.has_begun(page) or (visit is not None and visit.faces):
            yield self._unchanged()  # another photo has come meanwhile
        elif visit is None:
            yield self._forgotten(page)
        else:
            yield from self._answer(
                lambda: _in_work(visit.photo), prompts, page, partial(_predict, no_face="whole")
            )

    def on_pick(self, choice: int, prompts: str, request: gr.Request) -> Updates:
        """A face was chosen in the picker."""
        page = _page(request)
        visit = self._visits.get(page)
        if self._visits.has_begun(page):
            return self._unchanged()  # the next photo's answer comes
        if visit is None:
            return self._forgotten(page)
        if choice not in range(len(visit.faces)):
            return self._unchanged()  # a face of the photo before
        return self._choose(page, visit, choice, prompts)

    def on_click(self, prompts: str, request: gr.Request, event: gr.SelectData) -> Updates:
        """The photo was clicked: choose the face that was hit."""
        page = _page(request)
        visit = self._visits.get(page)
        if visit is None and not self._visits.has_begun(page):
            return self._forgotten(page)
        if visit is None or len(visit.faces) < 2:
            return self._unchanged()
        x, y = event.index
        chosen = annotation.face_at(visit.faces, float(x), float(y))
        if chosen is None:
            return self._unchanged()
        return self._choose(page, visit, chosen, prompts)

    def on_prompts(self, prompts: str, chosen: int | None, request: gr.Request) -> Updates:
        """The prompts were edited: score them again, without the photo."""
        page = _page(request)
        visit = self._visits.get(page)
        if chosen is None or self._visits.has_begun(page):
            return self._unchanged()  # nothing is shown yet; `on_answered` comes after the prediction
        if visit is None:
            self._forget(page)
            return {self.message: message(texts.FORGOTTEN)}
        if chosen not in range(len(visit.faces)):
            return self._unchanged()  # a face of the photo before
        try:
            return {self.scores: _scores(visit.estimator, visit.faces[chosen], prompts)}
        except CilfError as error:
            return {self.scores: message(texts.sentence(error))}

    def on_answered(self, prompts: str, chosen: int | None, request: gr.Request) -> Updates:
        """A photo was answered: score the prompts if they were edited during its prediction."""
        visit = self._visits.get(_page(request))
        if visit is None or visit.prompts == prompts:
            return self._unchanged()
        return self.on_prompts(prompts, chosen, request)

    def _example_steps(
        self, number: int
    ) -> tuple[Callable[[gr.Request], Awaitable[Updates]], Callable[[gr.Request], Updates]]:
        """What an example does when it is chosen, and when the line is full."""
        key = self._examples.portraits[number][0].key

        async def on_example_chosen(request: gr.Request) -> Updates:
            """It waits for its turn. On the event loop, as `on_arrived` says."""
            page = _page(request)
            self._forget(page)
            self._visits.begin(page, key)
            return self._reading()

        def on_example_refused(request: gr.Request) -> Updates:
            return self._refused(_page(request), key)

        return on_example_chosen, on_example_refused

    def _example_handler(self, number: int) -> Callable[[str, gr.Request], Iterator[Updates]]:
        example, portrait = self._examples.portraits[number]

        def predicted(estimator: Estimator, _: np.ndarray) -> Sequence[FacePrediction]:
            return self._examples.faces(number, estimator)

        def on_example(prompts: str, request: gr.Request) -> Iterator[Updates]:
            page = _page(request)
            ticket = self._visits.claim(page, example.key)
            if ticket is None:  # another photo has come meanwhile
                yield self._unchanged()
            else:
                yield from self._answer(lambda: nullcontext(portrait), prompts, page, predicted, ticket)

        return on_example

    def _answer(
        self,
        opened: Callable[[], AbstractContextManager[np.ndarray]],
        prompts: str,
        page: str,
        predict: Predict = _predict,
        ticket: Ticket | None = None,
    ) -> Iterator[Updates]:
        """The answer to a photo; where the model is still loading, first a line that says so.

        The photo is decoded when there is a model for it: until then it waits where `Visits` can drop it.
        """
        ticket = ticket or self._visits.begin(page)
        if self._host.state == "loading":
            yield {self.message: message(texts.MODEL_FIRST, "hint")}
        visit: Visit | None = None

        def answer() -> Updates:
            nonlocal visit
            estimator = self._host.get()
            with VISITORS_FIRST.visitor(), opened() as photo:
                visit = Visit(photo, tuple(predict(estimator, photo)), estimator, prompts)
                return self._show(visit, 0, prompts) if visit.faces else self._offer_whole(photo)

        updates = self._guarded(answer)
        yield updates if self._visits.put(page, ticket, visit) else self._unchanged()

    def _choose(self, page: str, visit: Visit, chosen: int, prompts: str) -> Updates:
        """Show another face, unless a newer choice or photo came meanwhile: a late answer would set the page back."""
        choice = self._choices[visit] = object()
        with _in_work(visit.photo):
            updates = self._guarded(lambda: self._show(visit, chosen, prompts))
        late = self._choices.get(visit) is not choice or self._visits.get(page) is not visit
        return self._unchanged() if late else updates

    def _show(self, visit: Visit, chosen: int, prompts: str) -> Updates:
        """Everything about one face of a photo."""
        faces, face = visit.faces, visit.faces[chosen]
        choices = [(texts.face_choice(index, each), index) for index, each in enumerate(faces)]
        return {
            self.photo: shown(annotation.annotate(visit.photo, faces, chosen)),
            self.message: message(
                WHOLE_PICTURE if faces[0].detection_score is None else texts.face_count(len(faces)), "hint"
            ),
            self.whole: gr.Button(visible=False),
            self.picker: gr.Radio(choices=choices, value=chosen, visible=len(faces) > 1),
            self.waiting: gr.HTML(visible=False),
            self.results: gr.Column(visible=True),
            self.age: charts.age_card(face, chosen, len(faces)),
            self.correction: charts.correction(face, visit.estimator.epsilon),
            self.distribution: charts.distribution(face),
            self.scores: _scores(visit.estimator, face, prompts),
            self.heat: charts.heat_map(face),
        } | {
            button: gr.Button(visible=_knows(visit.estimator, prompts))
            for button, prompts in zip(self.presets, PRESETS.values(), strict=True)
        }

    def _offer_whole(self, photo: np.ndarray) -> Updates:
        """A photo in which no face was detected."""
        return {
            **self._nothing(texts.NO_FACE),
            self.photo: shown(photo),
            self.whole: gr.Button(visible=True),
        }

    def _nothing(self, text: str, kind: str = "problem") -> Updates:
        """The empty page with a line of text."""
        return {
            self.photo: None,
            self.message: message(text, kind),
            self.whole: gr.Button(visible=False),
            self.picker: gr.Radio(choices=[], value=None, visible=False),
            self.waiting: gr.HTML(visible=True),
            self.results: gr.Column(visible=False),
        }

    def _forgotten(self, page: str) -> Updates:
        """The answer to a visitor whose photo is no longer in memory."""
        self._forget(page)
        return self._nothing(texts.FORGOTTEN)

    def _unchanged(self) -> Updates:
        """The page as it is; Gradio wants an answer to name something at least."""
        return {self.message: gr.skip()}

    def _reading(self) -> Updates:
        """What the page says of a photo until it is answered: the figures in view are those of the photo before it."""
        return {self.message: message(texts.READING, "hint")}

    def _guarded(self, work: Callable[[], Updates]) -> Updates:
        """Do the work; whatever goes wrong becomes a sentence on the page, and the page goes on."""
        try:
            return work()
        except CilfError as error:
            return self._nothing(texts.sentence(error))
        except Exception:
            log.exception("a photo could not be handled")
            return self._nothing(texts.UNEXPECTED)


def _knows(estimator: Estimator, prompts: Sequence[str]) -> bool:
    """Whether the loaded weights know every word of a set."""
    return estimator.compares_texts and not estimator.unknown_words(prompts)


def _scores(estimator: Estimator, face: FacePrediction, text: str) -> str:
    if not estimator.compares_texts:
        return charts.prompt_scores((), note=texts.NO_TEXTS)
    lines = texts.prompt_lines(text)
    scored = lines[: texts.MAX_PROMPTS]
    if not scored:
        return charts.prompt_scores((), note=texts.NO_PROMPTS)
    scores = prompt_scores(estimator, face, scored)
    notes = [texts.TOO_MANY_PROMPTS] * (len(lines) > len(scored)) + [texts.CUT] * texts.is_cut(text)
    balances, published = _balances(estimator, scores), estimator.by_published_clip
    return charts.prompt_scores(scores, balances, " ".join(notes), published=published)


def _balances(estimator: Estimator, scores: Sequence[PromptScore]) -> list[tuple[Pair, float]]:
    """Each pair of opposites whose two prompts are scored, with the first one's share of the two."""
    similarities = {score.prompt: score.similarity for score in scores}
    pairs = [pair for pairs in PAIRS.values() for pair in pairs]
    return [
        (pair, estimator.softmax({prompt: similarities[prompt] for prompt in pair[2:]})[pair.first_prompt])
        for pair in pairs
        if similarities.keys() >= {pair.first_prompt, pair.second_prompt}
    ]


@contextmanager
def _in_work(photo: np.ndarray) -> Iterator[np.ndarray]:
    """A photo in view whose pixels count among those in work: copies of it are made."""
    with IN_WORK.hold(photo.size // 3):
        yield photo


def _page(request: gr.Request) -> str:
    return str(request.session_hash)


def _thumbnail_style(portraits: list[tuple[examples.Example, np.ndarray]]) -> str:
    """The examples' thumbnails and captions as a style sheet: they lie in the page itself, no file has to be served."""
    rules = "".join(
        f'#example-{example.key}::before {{ background-image: url("{charts.thumbnail(portrait)}"); }}'
        f'#example-{example.key}::after {{ content: "{example.caption}"; }}'
        for example, portrait in portraits
    )
    return f"<style>{rules}</style>"
