"""A plain piece of the page: our own HTML without Gradio's text styles."""

from typing import Any

import gradio as gr

# The region stands from the start, so that screen readers speak what is later put into it.
LIVE = '<div role="status" aria-live="polite">${value}</div>'


def panel(value: str = "", *, live: bool = False, **options: Any) -> gr.HTML:
    """A `gr.HTML` under our style sheet alone.

    Args:
        value: HTML; text from a visitor must be escaped in it.
        live: changes are read aloud by screen readers.
        options: passed on to `gr.HTML`.
    """
    if live:
        options["html_template"] = LIVE
    return gr.HTML(value, apply_default_css=False, js_on_load=None, **options)
