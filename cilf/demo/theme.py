"""The appearance of the page: a plain theme with the system's own fonts, and what stands in the page's head."""

import json
from pathlib import Path

import gradio as gr
from gradio.themes.utils import fonts, sizes

from cilf.demo import texts
from cilf.photo_set.files import PHOTO_SUFFIXES

STYLE_SHEETS = sorted(Path(__file__).parent.rglob("*.css"))

_SCRIPT = (
    Path(__file__)
    .with_name("photo")
    .joinpath("photo.js")
    .read_text(encoding="utf-8")
    .replace("__SUFFIXES__", json.dumps(sorted(PHOTO_SUFFIXES)))
    .replace("__LENGTH__", str(texts.MAX_PROMPT_LENGTH))
)

FAVICON = Path(__file__).with_name("favicon.svg")

HEAD = (
    '<meta name="description" content="Age from a face, with its interval and the steps of its correction.">'
    '<link rel="icon" type="image/svg+xml" href="favicon.ico">'
    f'<script type="module">{_SCRIPT}</script>'
)


class SystemFont(fonts.Font):
    """A font of the visitor's own system, written into the style sheet as it is and never fetched."""

    def __str__(self) -> str:
        return self.name


_FONTS = [SystemFont(name) for name in ("system-ui", "-apple-system", '"Segoe UI"', "Roboto", "sans-serif")]
_MONO = [SystemFont(name) for name in ("ui-monospace", "Menlo", "Consolas", "monospace")]


def make_theme() -> gr.themes.Base:
    """Gradio's base theme with our colours and with system fonts, so that no font is loaded from anywhere."""
    blue = gr.themes.Color(
        name="cilf_blue",
        c50="#eef6fb",
        c100="#d7e9f5",
        c200="#b0d4ea",
        c300="#80b9db",
        c400="#4a9bc9",
        c500="#1f7db3",
        c600="#0b5d8f",
        c700="#0a4f7a",
        c800="#0b4163",
        c900="#0d3651",
        c950="#082338",
    )
    theme = gr.themes.Base(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=sizes.radius_md,
        font=_FONTS,
        font_mono=_MONO,
    )
    return theme.set(
        body_background_fill="#f5f7f9",
        body_background_fill_dark="#0e141b",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#161e27",
        background_fill_secondary="#f5f7f9",
        background_fill_secondary_dark="#0e141b",
        body_text_color="#17212b",
        body_text_color_dark="#e8edf2",
        body_text_color_subdued="#52606d",
        body_text_color_subdued_dark="#a3b1bf",
        border_color_primary="#dbe2e8",
        border_color_primary_dark="#2b3743",
        block_background_fill="#ffffff",
        block_background_fill_dark="#161e27",
        block_border_width="1px",
        block_radius="14px",
        block_shadow="none",
        block_label_background_fill="#ffffff",
        block_label_background_fill_dark="#161e27",
        input_background_fill="#ffffff",
        input_background_fill_dark="#0e141b",
        input_placeholder_color="#52606d",
        input_placeholder_color_dark="#a3b1bf",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1e2934",
        button_secondary_background_fill_hover="#eef6fb",
        button_secondary_background_fill_hover_dark="#273442",
        button_secondary_border_color="#c6d0d9",
        button_secondary_border_color_dark="#3a4856",
        button_border_width="1px",
        button_primary_background_fill="#0b5d8f",
        button_primary_background_fill_hover="#0a4f7a",
        button_primary_text_color="#ffffff",
    )
