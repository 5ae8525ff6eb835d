"""The sentences of the page. Short and plain; everything that comes from a visitor is escaped where it is shown."""

from collections.abc import Mapping

from cilf.demo.limits import MAX_SET_PHOTOS
from cilf.prediction import ADULT, FacePrediction, Status
from cilf.similarity.scores import NEUTRAL
from cilf.texts import MAX_LETTERS

TITLE = "CILF"
SUBTITLE = "The age of every face in a photo, how sure that is, and how the estimate came about."

PRIVACY = (
    "Your photo is deleted from the disk as soon as it is read. While it is on your screen it stays in memory; when "
    "you leave, it is forgotten. No photo, age or file name is logged."
)
LIMITS = (
    "An estimate from a picture, not a fact about a person. Do not use it to decide about anybody: it errs more for "
    "some groups than for others."
)

DROP_HERE = "Drop a photo here\n– or –\nclick to choose one"
READING = "Looking for faces in the new photo …"
FIRST_STEP = "Choose a photo, paste one, take a snapshot, or try a portrait."
WAITING = (
    "Each face gets its age, a 90 % interval, the steps of its correction and a map of what the model saw."
)
PROMPTS_LEAD = "The model compares the face with sentences. Change them; the photo is not read again."
PRESETS_LEAD = "Start from a set:"
RESET_PROMPTS = "Reset"
ADD_PROMPT = "Add a prompt, then Enter"
MODEL_FIRST = "The model is still loading; your photo comes next."
NO_FACE = "No face was found in this picture. Is the face cut out tightly, or turned far away?"
WHOLE_PICTURE = "Take the whole picture as one face"
FORGOTTEN = "This photo is no longer in memory. Please choose it again."
UNEXPECTED = "Something went wrong with this picture. Please try another one."
BUSY = "Many people are here right now; try again in a minute."
TOO_LONG = "This request is larger than this page takes. Upload large photos as files, one at a time."
MALFORMED = "The page cannot read this request."
TOO_SLOW = "This request did not come in time. Upload large photos as files."
DISK_FULL = "The computer that serves this page has no room left on its disk. Please try again later."
NO_MODEL = "the model could not be loaded; the owner of this page finds the reason in the program's log"
REFUSED = "The queue is full, so this photo was not processed. Please choose it again later."
NO_TEXTS = "The weights in use cannot compare words with faces: they have no text tower. The weights of CILF have one."
FIT = (
    f"Fit: cosine similarity of face and prompt, minus that of face and “{NEUTRAL}”; left of the mark the prompt fits "
    "worse than that. Share: softmax over the prompts shown here, at the learned temperature."
)
MEASURED_WORDS = (
    "Words for expression, light and photo quality were learned from automatic measurements of pixels and of a face "
    "mesh, not from human labels."
)
NO_PROMPTS = "Write at least one prompt to compare the face with."

MAX_PROMPTS = 24
MAX_PROMPT_LENGTH = MAX_LETTERS
TOO_MANY_PROMPTS = f"Only the first {MAX_PROMPTS} prompts are scored."
CUT = f"A prompt is scored by its first {MAX_PROMPT_LENGTH} letters."
REMOVE_PROMPT = "Remove “{}”"

STATUS_TITLES: dict[Status, str] = {
    "accepted": "Accepted at once",
    "corrected": "Corrected",
    "low_confidence": "Low confidence",
}
CONFIRMED = "Confirmed"  # in the place of "Corrected" where further views left the first guess as it was

# Each has its own sign, so that colour is not all that tells them apart.
STATUS_SIGNS: dict[Status, str] = {"accepted": "✓", "corrected": "↻", "low_confidence": "!"}


def status_title(face: FacePrediction) -> str:
    """What became of the estimate, in a word or two."""
    if face.status == "corrected" and not any(step.accepted for step in face.trace[1:]):
        return CONFIRMED
    return STATUS_TITLES[face.status]


def limit_digits(face: FacePrediction, epsilon: float) -> int:
    """How many decimals tell the first estimated error from the limit."""
    first = face.trace[0].estimated_error
    return 1 if f"{first:.1f}" != f"{epsilon:.1f}" else 2


def sentence(error: Exception) -> str:
    """An error's message as a sentence: a capital at its start, a full stop at its end."""
    text = str(error).strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def face_count(count: int) -> str:
    """How many faces there are, for the line above the picker."""
    return "1 face found" if count == 1 else f"{count} faces found, numbered from left to right"


def face_choice(index: int, face: FacePrediction) -> str:
    """A face in the picker."""
    return f"{index + 1} · {face.age:.0f} years"


def ruler(face: FacePrediction) -> str:
    """The age and its interval, for a reader who cannot see the ruler."""
    low, high = face.interval
    return f"Estimated age {face.age:.0f} years. 90 percent interval from {low:.0f} to {high:.0f} years."


def story(face: FacePrediction, epsilon: float) -> str:
    """How the estimate was corrected, in one or two sentences."""
    if face.caveat:
        return f"{face.caveat} The estimate is {face.age:.1f} years. Take it with care."
    first, digits = face.trace[0], limit_digits(face, epsilon)
    off = f"{first.estimated_error:.{digits}f} years off"
    opening = f"First guess {first.age:.1f} years, expected to be {off}"
    if face.status == "accepted":
        return f"{opening}. That is within the limit of {epsilon:.{digits}f}, so it was kept."
    accepted = [step for step in face.trace[1:] if step.accepted]
    opening += f", more than the limit of {epsilon:.{digits}f}."
    if not face.iterations:
        return f"{opening} No further view of the face was taken. Take it with care."
    views = "One further view" if face.iterations == 1 else f"{face.iterations} further views"
    error = f"{face.estimated_error:.1f}"
    if not accepted and face.status == "corrected":
        return f"{opening} {views} confirmed it: an estimated error of {error}, within the limit."
    if not accepted:
        return f"{opening} {views} pointed to no better age, so the guess was kept. Take it with care."
    moves = "One correction" if len(accepted) == 1 else f"{len(accepted)} corrections"
    moved = (
        f"{moves} by {views.lower()} led to {accepted[-1].age:.1f} years with an estimated error of {error}"
    )
    if face.status == "corrected":
        return f"{opening} {moved}, within the limit."
    return f"{opening} {moved}, still above the limit. Take it with care."


def over(face: FacePrediction, limit: int) -> str:
    """Whether the person is over an age limit, with what stands behind the answer."""
    return {
        "yes": f"Yes. Of faces under {limit} like those it was calibrated on, at most 5 % get this answer.",
        "no": f"No. Of faces of {limit} and over like those it was calibrated on, at most 5 % get this answer.",
        "unsure": f"Unsure. {_why_unsure(face, limit)}",
    }[face.over(limit)]


def no_promise(caveat: str) -> str:
    """The answer for a face with a caveat (`FacePrediction.caveat`); empty without one."""
    return f"{ADULT} or over? Unsure. {caveat}" if caveat else ""


def _why_unsure(face: FacePrediction, limit: int) -> str:
    ordinary = f"This face may be that of somebody under {limit} or over; a picture cannot settle it."
    return face.caveat or ordinary


def outcome(face: FacePrediction, index: int) -> str:
    """What became of step `index` of the trace, for the table."""
    step = face.trace[index]
    if index == 0:
        return "first guess"
    return "taken" if step.accepted else f"not taken; error of the kept age {step.kept_error:.1f}"


def unknown_words(nearest: Mapping[str, list[str]]) -> str:
    """Note on a prompt whose words the text tower did not meet in training, each with known words like it."""
    quoted = ", ".join(f"“{word}”{_instead(known)}" for word, known in nearest.items())
    return f"Not seen in training: {quoted}"


def _instead(known: list[str]) -> str:
    return f" (try {' or '.join(f'“{word}”' for word in known)})" if known else ""


def scored_by(tower: str) -> str:
    """Which text tower compared the prompts with the face."""
    return f"Compared by {tower}."


def prompt_lines(text: str) -> list[str]:
    """The prompts in the editor: one a line, blanks and repetitions dropped, cut to what is scored."""
    lines = (" ".join(line.split())[:MAX_PROMPT_LENGTH].strip() for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if line))


def is_cut(text: str) -> bool:
    """Whether a prompt in the editor is longer than what is scored of it."""
    return any(len(" ".join(line.split())) > MAX_PROMPT_LENGTH for line in text.splitlines())


# The Live tab
LIVE_START = "Start"
LIVE_STOP = "Stop"
LIVE_VIDEO = "The camera's picture"
LIVE_CAMERA = "Camera"
LIVE_FACES = "Faces in view"
LIVE_REST = "Press Start and look into the camera."
LIVE_EMPTY_TITLE = "The ages appear here"
LIVE_EMPTY = "Each face in view gets an age and its 90 % interval, averaged over the last seconds."
LIVE_PRIVACY = (
    "Frames of your camera go to the program behind this page, are read in memory and forgotten at once. None is "
    "written to a disk or logged. The camera is switched off when you press Stop, open another tab or leave the page."
)
LIVE_MODEL_FIRST = "The model is still loading; the ages appear as soon as it is ready."
LIVE_UNEXPECTED = "Something went wrong with a frame. Please press Start again."

# What the browser says by itself. Braces mark what it fills in.
LIVE_SENTENCES = {
    "start": LIVE_START,
    "stop": LIVE_STOP,
    "asking": "Please allow this page to use your camera.",
    "starting": "The camera is starting …",
    "noFace": "No face in view. Come a little closer, with light on your face.",
    "insecure": "Browsers open a camera only on a secure address. Open this page with https://, or as http://localhost.",
    "denied": (
        "The browser does not let this page use the camera. Allow it with the camera icon in the address bar, then "
        "press Start again."
    ),
    "missing": "No camera was found. Connect one and press Start again, or use the Photo tab.",
    "busy": "The camera cannot be opened; another program may be using it. Close that and press Start again.",
    "ended": "The camera was switched off or unplugged. Press Start to go on.",
    "silent": "The program behind this page does not answer. Check that it is running, then press Start again.",
    "figures": "{rate} frames a second · {delay} ms behind the camera",
    "face": "Face {number}",
    "years": "years",
    "interval": "90 % interval {low} to {high}",
    "spoken": "{count} in view: {ages}.",
    "one": "1 face",
    "many": "{count} faces",
    "spokenAge": "about {years} years",
    "camera": "Camera {number}",
}


# Where a picture goes when the page is not served to its own computer alone

ON_A_SPACE = (
    "This page runs on a computer of Hugging Face: your photo travels there, is read, and is deleted at once."
)
SHARED = (
    "This page is shared by a link: your photo travels through Gradio's servers to the computer of the person who sent "
    "you the link, and is deleted there as soon as it is read."
)
ON_THE_NETWORK = (
    "Your photo travels to the computer that serves this page, and is deleted there as soon as it is read."
)

# The Model tab

NO_MODEL_YET = "The model is still loading; this takes a few seconds."
FOREIGN_HOST = (
    "This page does not answer under this address. Its owner can allow the address's name, by starting it with "
    "--trusted-hosts."
)
FOREIGN_ORIGIN = (
    "Another web page sent this, which this page does not accept. Its owner can allow that page's host, by starting "
    "this one with --trusted-hosts."
)

OWNER_CHOOSES = "The owner of this page chooses its weights, by starting it with --weights."
LOAD_LEAD = (
    "One of those that come with the program; or a folder with a CILF checkpoint, the name of one on the Hugging Face "
    "Hub, or “clip:” and a name of open_clip's for a published CLIP that compares faces with words. The model in use "
    "stays until the new one works, and photos in view keep theirs."
)
SYSTEMS_LEAD = (
    "They come with the program. Their figures are from the same test photos, on which none was trained."
)
COMPARISON_LEAD = (
    "All are measured on the same photos, on which none was trained. The control is the image tower with an age head "
    "alone: no texts, no graph, no correction. Control, LRA-GNN, MCGRL and CILF learned from the same photos, from the "
    "same start, for about the same time; MTMSA and the shipped CILF did not. “Shipped” means the weights on the day "
    "of this measurement. LRA-GNN and MCGRL are compact rebuilds: their figures say nothing about the originals. The "
    "ones that come with the program trained longer than these."
)
NO_REPORT = "No measurements came with these weights: nobody can say how far to trust them."
NO_CARD = "No model card came with these weights."
MEASURED_LEAD = (
    "Each row is a group of test photos that the model never learned from. The error is the mean distance from the "
    "true age; the range in brackets is its 95 % confidence interval."
)
ADULT_LEAD = (
    "For each face the page can say whether somebody is 18 or older. It says “unsure” rather than guess; this is how "
    "it answered on the test photos."
)
LIMITS_PLAIN = (
    "It sees how old a face looks, not how old a person is.",
    "Make-up, masks, sunglasses, a face turned far away, a small or soft picture and beauty filters mislead it.",
    "Do not decide about a person by it: not at a door, a border or a desk, and never as the only check of an age.",
)
CARD_LEAD = "What the makers of the weights wrote, as it came with them."
PROGRAMS_LEAD = (
    "Programs get the same numbers as JSON, through <code>/predict</code>, <code>/predict_set</code> and "
    "<code>/similarity</code>. Their parameters, and examples to copy, stand behind “Use via API” at the page's foot."
)
MCP_ON = '<p class="cilf-small">Language models reach the same as tools (MCP) at <code>/gradio_api/mcp/</code>.</p>'
MCP_OFF = '<p class="cilf-small">Started with <code>--mcp</code>, the page offers them to language models as tools.</p>'


NEW_WEIGHTS = "Now in use: {}."


def downloading(done: int, total: int) -> str:
    """How far the download of weights is, in bytes."""
    return f"Downloading the weights: {done / 1e6:.0f} of {total / 1e6:.0f} MB"


def old_weights(error: Exception, source: str | None) -> str:
    """Other weights could not be loaded; `source` is what is in use."""
    rest = f" Still in use: {source}." if source else " No model is in use yet."
    return sentence(error) + rest


# The Photo set tab

SET_TITLE = "A whole set at once"
SET_LEAD = "Holiday photos, a folder, a zip file: every face gets its age, and you can download the table."
SET_DROP = "or drop them here"
SET_VIDEO = "; a short video gives a row for every person"
# A video's name, and how many of its frames are done
SET_FRAMES = "{}: {} frames"
SET_WAITING = (
    "Each face with its age, how the ages are spread, and a table to sort and download. Results appear "
    "while photos are processed."
)
SET_PRIVACY = (
    "Photos go one by one into memory and never onto the disk. A zip file or a video lies on the disk without a name "
    "until it is read. The figures are forgotten when you leave."
)
SET_FORGOTTEN = "This set is no longer in memory. Please reload the page and choose the photos again."
SET_FULL = (
    f"This set is full: it holds {MAX_SET_PHOTOS:,} photos. Download its table, then start another set."
)
SET_ARCHIVE = "A zip file or video of this set is still being read. Please wait until it is done."
SET_UNEXPECTED = "Something went wrong with this set."
SET_OUTCOMES = {
    "accepted": "Accepted",
    "corrected": "Corrected",
    "low_confidence": "Low confidence",
    "no_face": "No face",
    "unreadable": "Not readable",
}
# A file stopped coming in the middle, or came so slowly that others had to wait; the browser could not read a file.
SET_STALLED = "'{}' took too long to upload; choose it again"
SET_GONE = "'{}' could not be read on your computer; choose it again"


def seen(first: float, last: float, frames: int) -> str:
    """When a video shows a person, in seconds."""
    return f"In {frames} frames from {first:.1f} to {last:.1f} s"
