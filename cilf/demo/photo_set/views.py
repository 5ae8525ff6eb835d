"""What the Photo set tab shows, as pieces of HTML: its empty frame, and what each photo adds to it.

The script `photo_set.js` puts the pieces where they belong. It never makes HTML of a visitor's words itself: everything
that comes from a visitor is escaped here.
"""

import json
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from cilf.demo import texts
from cilf.demo.charts import OLDEST, age_axis
from cilf.demo.limits import MAX_ARCHIVE, MAX_PHOTO, MAX_SET_FILES, MAX_VIDEO
from cilf.demo.photo_set.sets import TABLE_KINDS
from cilf.demo.uploads.images import jpeg_address
from cilf.photo_set.files import PHOTO_SUFFIXES
from cilf.photo_set.results import PhotoResult, Row
from cilf.prediction import FacePrediction
from cilf.video.frames import VIDEO_SUFFIXES, can_decode

# The gallery holds so many faces, the newest first; the page of a large set stays light.
GALLERY = 60
SENDERS = 4  # photos that a page sends at once
THUMBNAIL = 96  # pixels; twice that on a phone's screen would show no more of a small face
YEARS = 5  # a bar of the histogram

# (column of the table on the page, how it is sorted)
_COLUMNS = (
    ("Photo", "text"),
    ("Face", "number"),
    ("Age", "number"),
    ("90 % interval", "number"),
    ("First guess", "number"),
    ("Outcome", "text"),
)


def frame() -> str:
    """The tab before the first photo; `photo_set.js` brings it to life."""
    videos = sorted(VIDEO_SUFFIXES) if can_decode() else []
    settings = escape(
        json.dumps(
            {
                "suffixes": sorted(PHOTO_SUFFIXES),
                "videos": videos,
                "maxPhoto": MAX_PHOTO,
                "maxArchive": MAX_ARCHIVE,
                "maxVideo": MAX_VIDEO,
                "maxFiles": MAX_SET_FILES,
                "gallery": GALLERY,
                "senders": SENDERS,
            }
        )
    )
    accept = ",".join(["image/*", *sorted(PHOTO_SUFFIXES), ".zip", *videos])
    heads = "".join(
        f'<th scope="col"><button type="button" data-sort="{kind}">{title}<i aria-hidden="true"></i></button></th>'
        for title, kind in _COLUMNS
    )
    downloads = "".join(
        f'<a class="cilf-button" data-table="{kind}" download="ages.{kind}">{title}</a>'
        for kind, title in zip(TABLE_KINDS, ("CSV", "JSON", "Parquet"), strict=True)
    )
    return f"""
<div class="cilf-set" data-settings="{settings}">
  <div class="cilf-set-left">
    <section class="cilf-card cilf-set-drop" data-part="drop" aria-labelledby="cilf-set-title">
      <h2 id="cilf-set-title">{texts.SET_TITLE}</h2>
      <p class="cilf-lead">{texts.SET_LEAD}</p>
      <div class="cilf-buttons">
        <button type="button" class="cilf-button cilf-primary" data-do="files">Choose photos or a zip</button>
        <button type="button" class="cilf-button" data-do="folder">Choose a folder</button>
      </div>
      <p class="cilf-small cilf-drop-hint">{texts.SET_DROP}{texts.SET_VIDEO if videos else ""}</p>
      <input type="file" multiple accept="{accept}" data-part="files" aria-label="Photos or zip files" hidden>
      <input type="file" webkitdirectory data-part="folder" aria-label="A folder of photos" hidden>
    </section>
    <div role="status" aria-live="polite" data-part="message"></div>
    <section class="cilf-card" data-part="work" aria-label="Progress" hidden>
      <div class="cilf-work">
        <p class="cilf-work-line"><strong data-part="count"></strong><span data-part="left"></span></p>
        <button type="button" class="cilf-button" data-do="stop">Stop</button>
      </div>
      <progress data-part="bar" aria-label="Photos done" value="0" max="1"></progress>
      <p class="cilf-small" data-part="tally"></p>
    </section>
    <section class="cilf-card" data-part="failures" aria-labelledby="cilf-set-failures" hidden>
      <h2 id="cilf-set-failures">Without an age: <span data-part="failed"></span></h2>
      <ul class="cilf-failures" data-part="failure-list" tabindex="0" aria-label="Files without an age"></ul>
    </section>
    <p class="cilf-small">{texts.SET_PRIVACY}</p>
  </div>
  <div class="cilf-set-right">
    <div class="cilf-card cilf-waiting" data-part="waiting">
      <svg viewBox="0 0 120 60" width="120" height="60" aria-hidden="true">
        <path class="cilf-line" d="M14 50V38h14v12zM36 50V26h14v24zM58 50V12h14v38zM80 50V30h14v20z"/>
      </svg>
      <h2>The faces appear here</h2>
      <p class="cilf-lead">{texts.SET_WAITING}</p>
    </div>
    <div class="cilf-set-results" data-part="results" hidden>
      <section class="cilf-card" aria-labelledby="cilf-set-gallery">
        <h2 id="cilf-set-gallery">Faces</h2>
        <p class="cilf-lead" data-part="gallery-note">The newest first.</p>
        <ol class="cilf-gallery" data-part="gallery"></ol>
      </section>
      <section class="cilf-card" aria-labelledby="cilf-set-ages">
        <h2 id="cilf-set-ages">Ages</h2>
        <div data-part="histogram"></div>
      </section>
      <section class="cilf-card" aria-labelledby="cilf-set-table">
        <div class="cilf-table-head">
          <h2 id="cilf-set-table">Table</h2>
          <div class="cilf-buttons" role="group" aria-label="Download the table">
            <span class="cilf-small">Download</span>{downloads}
          </div>
        </div>
        <div class="cilf-scroll" tabindex="0" role="region" aria-label="Table of all faces">
          <table class="cilf-table cilf-set-table">
            <caption class="cilf-hidden">A row for every face, and one for every file without an age</caption>
            <thead><tr>{heads}</tr></thead>
            <tbody data-part="rows"></tbody>
          </table>
        </div>
      </section>
    </div>
  </div>
</div>"""


def rows(result: PhotoResult) -> str:
    """The photo's rows of the table; `data-value` is what a column is sorted by."""
    return "".join(map(_row, result.rows))


def faces(result: PhotoResult) -> str:
    """The photo's faces for the gallery, the last one first; of a crowd as many as the gallery holds."""
    count = len(result.faces)
    shown = list(enumerate(result.faces))[:GALLERY]
    return "".join(_face(result.rows[0]["path"], face, index, count) for index, face in reversed(shown))


def failures(result: PhotoResult) -> str:
    """Why the photo has no age, if it has none."""
    return "".join(
        f"<li>{escape(texts.sentence(ValueError(row['error'])))}</li>" for row in result.rows if row["error"]
    )


def histogram(counts: Sequence[int]) -> str:
    """How many faces are how old: a bar for every `YEARS` years from 0 to 100.

    Args:
        counts: faces in each bar, youngest first; the last bar takes everybody older as well.
    """
    total, top = sum(counts), max([1, *counts])
    width = 100 / len(counts)
    bars = "".join(
        f'<rect x="{index * width + 0.08 * width:.2f}" y="{100 - 92 * count / top:.2f}" '
        f'width="{0.84 * width:.2f}" height="{92 * count / top:.2f}"/>'
        for index, count in enumerate(counts)
        if count
    )
    spoken = "; ".join(
        f"{index * YEARS} to {index * YEARS + YEARS - 1}: {count}"
        for index, count in enumerate(counts)
        if count
    )
    noun = "face" if total == 1 else "faces"
    return f"""
<p class="cilf-lead">{total:,} {noun} in steps of {YEARS} years. The tallest bar stands for {top:,}.</p>
<div class="cilf-plot cilf-tall" role="img" aria-label="Histogram of ages in years. {spoken}.">
  <svg class="cilf-bars" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>
</div>
{age_axis()}
<p class="cilf-axis-title" aria-hidden="true">age, years</p>"""


def count_ages(set_rows: Sequence[Row]) -> list[int]:
    """How many faces fall into each bar of the histogram, by the age that is shown: whole years."""
    counts = [0] * (OLDEST // YEARS)
    for row in set_rows:
        if row["age"] is not None:
            counts[min(max(round(row["age"]), 0) // YEARS, len(counts) - 1)] += 1
    return counts


def _row(row: Row) -> str:
    name = escape(row["path"])
    status = row["status"]
    outcome = f'<span class="cilf-outcome cilf-{escape(status)}">{texts.SET_OUTCOMES[status]}</span>'
    if row["caveat"]:
        outcome += f'<p class="cilf-small">{texts.no_promise(row["caveat"])}</p>'
    if row.get("frames"):
        outcome += (
            f'<p class="cilf-small">{texts.seen(row["first_second"], row["last_second"], row["frames"])}</p>'
        )
    if row["age"] is None:
        figures = '<td data-value="">–</td>' * 4
    else:
        low, high = row["age_low"], row["age_high"]
        figures = (
            f'<td data-value="{row["face"]}">{row["face"] + 1}</td>'
            f'<td data-value="{row["age"]:.4f}"><b>{row["age"]:.0f}</b></td>'
            f'<td data-value="{high - low:.4f}">{low:.0f} to {high:.0f}</td>'
            f'<td data-value="{row["initial_age"]:.4f}">{row["initial_age"]:.0f}</td>'
        )
    return f'<tr><th scope="row" data-value="{name}">{name}</th>{figures}<td data-value="{status}">{outcome}</td></tr>'


def _face(path: str, face: FacePrediction, index: int, count: int) -> str:
    low, high = face.interval
    which = f"Face {index + 1} in {path}" if count > 1 else path
    title = escape(f"{which}: {face.age:.0f} years, {low:.0f} to {high:.0f}")
    return (
        f'<li title="{title}"><img src="{_thumbnail(face.crop)}" alt="{escape(which)}" '
        f'width="{THUMBNAIL}" height="{THUMBNAIL}"><b>{face.age:.0f}</b></li>'
    )


def _thumbnail(crop: np.ndarray) -> str:
    picture = Image.fromarray(crop)
    if max(picture.size) > THUMBNAIL:
        picture = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return jpeg_address(np.asarray(picture), quality=80)
