"""What the Photo set tab shows of rows and faces."""

from dataclasses import replace

import gradio as gr

import app
from cilf.demo import texts
from cilf.demo.live.streams import Streams
from cilf.demo.photo_set import views
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visits
from cilf.demo.server.settings import Settings
from cilf.photo_set.results import PhotoResult
from tests.stand_in import StandIn, face


def test_the_histogram_counts_shown_ages() -> None:
    rows = [{"age": age} for age in (0.2, 4.6, 29.4, 34.6, 99.0, 104.0, None)]
    counts = views.count_ages(rows)
    assert len(counts) == 20
    assert {index: count for index, count in enumerate(counts) if count} == {
        0: 1,
        1: 1,
        5: 1,
        7: 1,
        19: 2,
    }
    chart = views.histogram(counts)
    assert chart.count("<rect") == 5
    assert "95 to 99: 2" in chart
    assert "6 faces" in chart


def test_a_crowd_fills_the_gallery_once() -> None:
    faces = tuple(replace(face(float(number)), age=float(number)) for number in range(views.GALLERY + 5))
    result = PhotoResult("crowd.jpg", faces, tuple({"path": "crowd.jpg"} for _ in faces))
    assert views.faces(result).count("<img") == views.GALLERY


def test_the_page_offers_the_tab() -> None:
    host = ModelHost(StandIn)
    page = app.build_page(host, lambda *_: StandIn(), Settings(), PhotoSets(host), Visits(), Streams())
    assert isinstance(page, gr.Blocks)
    assert texts.SET_TITLE in str(page.get_config_file()["components"])
