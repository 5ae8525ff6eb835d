"""Pieces of HTML that several tabs share: messages, cards, tables and the axis of ages."""

from collections.abc import Sequence
from html import escape

OLDEST = 100  # the rulers' right end in years; ages are 0 to 100
AGE_TICKS = (0, 20, 40, 60, 80, 100)


def message(text: str, kind: str = "problem") -> str:
    """A line for the visitor above the results; `kind` is `problem`, `hint` or `done`."""
    return f'<p class="cilf-message cilf-{kind}">{escape(text)}</p>' if text else ""


def waiting(what: str, share: float | None = None) -> str:
    """A bar for work of which `share`, in [0, 1], is done; None where nobody knows when it ends.

    In a live region a share is for the eye alone: a screen reader would read every one of hundreds to its end.
    """
    known = "" if share is None else f' aria-valuenow="{100 * share:.0f}"'
    bar = "<i></i>" if share is None else f'<i class="cilf-known" style="width:{100 * share:.0f}%"></i>'
    for_the_eye = "" if share is None else ' aria-hidden="true"'
    return f"""<div{for_the_eye}><p class="cilf-message cilf-hint">{escape(what)} …</p>
<div class="cilf-progress" role="progressbar" aria-label="{escape(what)}"{known}>{bar}</div></div>"""


def model_state(state: str, detail: str = "") -> str:
    """How far the model is: `loading`, `ready` or `failed`; `detail` says what is loaded, or what went wrong."""
    titles = {
        "loading": "Loading the model …",
        "ready": "Model ready",
        "failed": "The model is not available",
    }
    rest = f'<span class="cilf-detail">{escape(detail)}</span>' if detail else ""
    return f'<p class="cilf-model cilf-{state}"><i aria-hidden="true"></i><b>{titles[state]}</b>{rest}</p>'


def card(key: str, title: str, body: str, lead: str = "") -> str:
    """A section of the page: a heading, a line below it, and its content, all of them HTML."""
    line = f'<p class="cilf-lead">{lead}</p>' if lead else ""
    return f"""
<section class="cilf-card" aria-labelledby="cilf-{key}">
  <h2 id="cilf-{key}">{title}</h2>{line}
  {body}
</section>"""


def wide_table(key: str, caption: str, headings: Sequence[str], rows: str) -> str:
    """A table that scrolls sideways in the card `key`, with the keyboard too; `rows` is HTML."""
    heads = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return f"""<div class="cilf-wide" tabindex="0" role="region" aria-labelledby="cilf-{key}"><table class="cilf-table">
    <caption class="cilf-hidden">{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>
  </table></div>"""


def age_axis() -> str:
    """The ticks of an axis from 0 to 100 years."""
    ticks = "".join(f'<span style="left:{age}%">{age}</span>' for age in AGE_TICKS)
    return f'<div class="cilf-axis" aria-hidden="true">{ticks}</div>'
