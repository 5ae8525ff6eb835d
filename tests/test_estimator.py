"""The public door, on the bundled model and the two public-domain portraits."""

import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cilf import AgeEstimator, FacePrediction, PhotoError, UsageError
from cilf.demo.photo.prompt_presets import PRESETS
from cilf.distribution import distribution_at
from cilf.inference.text_tower import TextTower
from cilf.similarity.scores import NEUTRAL, PromptScorer, prompt_scores

AGES = {"grace_hopper": 77, "eileen_collins": 42}


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


@pytest.fixture(scope="module")
def hopper(estimator: AgeEstimator, grace_hopper: np.ndarray) -> FacePrediction:
    [face] = estimator.predict(grace_hopper, ["a old woman", "a baby", "a man"])
    return face


@pytest.mark.parametrize("portrait", AGES)
def test_the_true_age_lies_in_the_interval(
    estimator: AgeEstimator, portrait: str, request: pytest.FixtureRequest
) -> None:
    [face] = estimator.predict(request.getfixturevalue(portrait))
    low, high = face.interval
    assert low <= AGES[portrait] <= high
    assert low <= face.age <= high


def test_a_prediction_keeps_its_promises(estimator: AgeEstimator, hopper: FacePrediction) -> None:
    x0, y0, x1, y1 = hopper.box
    assert 0 <= x0 < x1 <= 512
    assert 0 <= y0 < y1 <= 600
    assert hopper.detection_score is not None
    assert 0 < hopper.detection_score <= 1
    assert hopper.distribution.shape == (101,)
    assert hopper.distribution.sum() == pytest.approx(1, abs=1e-4)
    assert hopper.trace[0].iteration == 0
    assert hopper.trace[0].age == hopper.initial_age
    assert hopper.age == [step for step in hopper.trace if step.accepted][-1].age
    assert np.linalg.norm(hopper.embedding) == pytest.approx(1, abs=1e-4)
    assert hopper.heatmap.ndim == 2
    assert hopper.heatmap.min() >= 0
    assert hopper.heatmap.max() <= 1
    assert hopper.crop.shape == (len(hopper.crop), len(hopper.crop), 3)
    assert hopper.over(18) == "yes"
    assert distribution_at(hopper.distribution, hopper.age) == pytest.approx(0.5, abs=0.01)  # its median
    wanted = {
        "accepted": hopper.trace[0].estimated_error <= estimator.epsilon,
        "corrected": hopper.iterations > 0,
        "low_confidence": hopper.trace[0].estimated_error > estimator.epsilon,
    }
    assert wanted[hopper.status]


def test_further_views_change_nothing_that_texts_are_compared_with(
    estimator: AgeEstimator, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    portraits = (grace_hopper, eileen_collins)
    faces = [face for portrait in portraits for face in estimator.predict(portrait)]
    assert any(face.further_crops for face in faces)
    for face, portrait in zip(faces, portraits, strict=True):
        [alone] = estimator.predict(portrait, max_views=1)
        np.testing.assert_array_equal(face.embedding, alone.embedding)


def test_similarities_are_cosines_and_can_be_had_without_the_photo(
    estimator: AgeEstimator, hopper: FacePrediction
) -> None:
    assert list(hopper.similarities) == ["a old woman", "a baby", "a man"]
    assert all(-1 <= value <= 1 for value in hopper.similarities.values())
    assert estimator.similarity(hopper, list(hopper.similarities)) == pytest.approx(
        hopper.similarities, abs=1e-5
    )
    shares = estimator.softmax(hopper.similarities)
    assert sum(shares.values()) == pytest.approx(1)
    assert sorted(shares, key=shares.__getitem__) == sorted(shares, key=hopper.similarities.__getitem__)
    assert estimator.softmax({}) == {}


def test_an_old_woman_is_like_one(estimator: AgeEstimator, hopper: FacePrediction) -> None:
    found = estimator.similarity(hopper, ["an old woman", "a toddler", "a teenage boy"])
    assert max(found, key=found.__getitem__) == "an old woman"


def test_the_presets_of_the_page_use_only_words_from_training(estimator: AgeEstimator) -> None:
    assert estimator.unknown_words([NEUTRAL, *chain.from_iterable(PRESETS.values())]) == {}


def test_prompts_are_scored_against_a_neutral_one(estimator: AgeEstimator, hopper: FacePrediction) -> None:
    neutral, woman, baby = prompt_scores(estimator, hopper, [NEUTRAL, "an old woman", "a baby", NEUTRAL])
    assert neutral.above_neutral == pytest.approx(0, abs=1e-6)
    assert woman.above_neutral == pytest.approx(woman.similarity - neutral.similarity, abs=1e-6)
    assert woman.above_neutral > baby.above_neutral
    assert neutral.share + woman.share + baby.share == pytest.approx(1)
    assert woman.scored_by == estimator.source


def test_words_that_training_never_held_are_named(estimator: AgeEstimator) -> None:
    assert estimator.unknown_words(["a tattooed man", "a child"]) == {"a tattooed man": ["tattooed"]}


@pytest.mark.slow
def test_faces_stand_left_to_right_and_do_not_depend_on_company(
    estimator: AgeEstimator, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    photo = np.concatenate([eileen_collins, grace_hopper[:512]], axis=1)
    left, right = estimator.predict(photo)
    assert left.box[2] < right.box[0]
    [alone] = estimator.predict(eileen_collins)
    side = alone.box[2] - alone.box[0]
    np.testing.assert_allclose(left.box, alone.box, atol=0.03 * side)
    # A crop shifted by a pixel may change the age by years where the model is unsure, never beyond its interval.
    assert alone.interval[0] < left.age < alone.interval[1]
    [largest] = estimator.predict(photo, max_faces=1)
    assert largest.age == pytest.approx(right.age, abs=1e-3)


@pytest.mark.slow
def test_every_kind_of_source_gives_the_same(
    estimator: AgeEstimator, grace_hopper: np.ndarray, hopper: FacePrediction, tmp_path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(grace_hopper).save(path)
    for source in (path, str(path), Image.open(path)):
        [face] = estimator.predict(source)
        assert face.age == hopper.age


def test_largest_faces_are_kept(
    estimator: AgeEstimator, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    small = np.array(Image.fromarray(grace_hopper).resize((170, 200)))
    photo = np.full((512, 700, 3), 120, np.uint8)
    photo[:, :512] = eileen_collins
    photo[:200, 520:690] = small
    [face] = estimator.predict(photo, max_faces=1)
    assert face.box[0] < 400


def test_a_picture_without_a_face(estimator: AgeEstimator) -> None:
    empty = np.full((120, 160, 3), 128, np.uint8)
    assert estimator.predict(empty) == []
    [face] = estimator.predict(empty, no_face="whole")
    assert face.box == (0, 0, 160, 120)
    assert face.detection_score is None


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
@pytest.mark.parametrize("length", [16_000, 60_000])
def test_a_thin_picture_is_refused_as_a_face(estimator: AgeEstimator, tmp_path: Path, length: int) -> None:
    path = tmp_path / "line.png"
    Image.new("RGB", (length, 16)).save(path)
    assert estimator.predict(path) == []
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins where memory is now (proc(5))
    before = peak_memory()
    with pytest.raises(PhotoError, match="at most 4 times"):
        estimator.predict(path, no_face="whole")
    assert peak_memory() - before < 200 << 20


def peak_memory() -> int:
    """Most memory in bytes that this process ever had at once."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) << 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompts": "one text"}, "give a list"),
        ({"prompts": ["a man", " "]}, "empty"),
        ({"prompts": ["a" * 32_000]}, "32000 letters; give prompts of at most 120"),
        ({"prompts": ["a" * 121]}, "121 letters"),
        ({"prompts": [str(number) for number in range(101)]}, "101 prompts; give at most 100"),
        ({"max_faces": 0}, "1 or more"),
    ],
)
def test_wrong_arguments(
    estimator: AgeEstimator, grace_hopper: np.ndarray, arguments: dict, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        estimator.predict(grace_hopper, **arguments)


def test_prompts_without_a_photo_have_the_same_limits(
    estimator: AgeEstimator, hopper: FacePrediction
) -> None:
    longest = ["a" * 120, *(str(number) for number in range(99))]
    assert len(estimator.similarity(hopper, longest)) == 100
    for prompts in (["a" * 121], [*longest, "one more"]):
        with pytest.raises(UsageError, match="give"):
            estimator.similarity(hopper, prompts)
        with pytest.raises(UsageError, match="give"):
            estimator.unknown_words(prompts)


def test_prompts_of_many_faces_are_encoded_once(
    estimator: AgeEstimator, hopper: FacePrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, encoded, encode = ["an old woman", "a baby"], [], TextTower.encode_text

    def counted(tower: TextTower, texts: list[str]) -> np.ndarray:
        encoded.append(texts)
        return encode(tower, texts)

    monkeypatch.setattr(TextTower, "encode_text", counted)
    scorer = PromptScorer(estimator, prompts)
    first, again = scorer.scores(hopper), scorer.scores(hopper)
    assert encoded == [prompts, [NEUTRAL]]
    assert first == again == prompt_scores(estimator, hopper, prompts)


def test_no_caller_waits_for_the_texts_of_another(
    estimator: AgeEstimator, hopper: FacePrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, encode = threading.Barrier(2, timeout=120), TextTower.encode_text

    def meet(tower: TextTower, texts: list[str]) -> np.ndarray:
        together.wait()  # raises where the other one is kept waiting
        return encode(tower, texts)

    monkeypatch.setattr(TextTower, "encode_text", meet)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda text: estimator.similarity(hopper, [text]), ["a man", "a woman"]))
    assert [list(answer) for answer in answers] == [["a man"], ["a woman"]]


def test_a_bad_photo_is_told_and_the_estimator_goes_on(
    estimator: AgeEstimator, grace_hopper: np.ndarray
) -> None:
    with pytest.raises(PhotoError):
        estimator.predict(grace_hopper.astype(np.float32))
    assert len(estimator.predict(grace_hopper)) == 1


def test_an_unknown_device() -> None:
    with pytest.raises(UsageError, match="no device"):
        AgeEstimator.from_pretrained(device="abacus")


@pytest.mark.slow
def test_threads_may_share_it(
    estimator: AgeEstimator, grace_hopper: np.ndarray, hopper: FacePrediction
) -> None:
    ages: list[float] = []

    def work() -> None:
        ages.extend(face.age for face in estimator.predict(grace_hopper, ["a man", "a woman"]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ages == pytest.approx([hopper.age] * 4, abs=1e-3)


def test_text_features_of_the_age_prompts_are_not_computed_per_photo(
    estimator: AgeEstimator, grace_hopper: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> np.ndarray:
        raise AssertionError("the text tower ran")

    monkeypatch.setattr("cilf.inference.text_tower.TextTower._encode", forbidden)
    assert len(estimator.predict(grace_hopper)) == 1


def test_an_estimator_may_keep_only_the_largest_faces_of_every_photo(
    grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    wall = np.full((620, 1100, 3), 255, np.uint8)
    wall[:600, :512], wall[50:562, 550:1062] = grace_hopper, eileen_collins
    few = AgeEstimator.from_pretrained(max_faces=1)
    assert len(few.predict(wall)) == 1
    assert len(few.predict(wall, max_faces=5)) == 2


def test_what_computes_on_a_lent_device_can_be_sent_to_another_process(
    estimator: AgeEstimator, grace_hopper: np.ndarray
) -> None:
    calls = []

    def lent(work: Any) -> Any:
        def called(*arguments: Any) -> Any:
            calls.append(work.__name__)
            return pickle.loads(pickle.dumps(work(*pickle.loads(pickle.dumps(arguments)))))

        return called

    borrower = AgeEstimator.from_pretrained(on_device=lent)
    assert calls == []  # nothing is lent while the model is loaded
    [face], [same] = borrower.predict(grace_hopper, ["a man"]), estimator.predict(grace_hopper, ["a man"])
    assert face.age == same.age
    assert borrower.similarity(face, ["a man"]) == pytest.approx(same.similarities, abs=1e-6)
    assert calls == ["_describe_here"] * len(face.trace)  # each view; texts are encoded here
