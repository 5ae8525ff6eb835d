"""A model card's Markdown as HTML that is safe to show: anybody may have written it."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

# The Hub's metadata stands in front, between two lines of three dashes.
_METADATA = re.compile(r"\A---\r?\n.*?^---\s*$", re.DOTALL | re.MULTILINE)

# The page has two levels of headings above the card's own.
_DEEPER = 2


def to_html(card: str) -> str:
    """The card without its metadata.

    HTML in it is shown as it is written, not obeyed; pictures are left to their descriptions, so that nothing is
    fetched from anywhere; links that run a script are no links. Wide tables scroll in a frame of their own.
    `gr.Markdown` would fetch the pictures and obey the HTML that its filter lets through.
    """
    return str(_markdown().render(_METADATA.sub("", card, count=1)))


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("heading_open", _heading)
    markdown.add_render_rule("heading_close", _heading)
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)
    markdown.add_render_rule("link_open", _link)
    return markdown


def _image(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return escape(renderer.renderInlineAsText(tokens[index].children or [], options, env))


def _heading(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    token.tag = f"h{min(int(token.tag[1]) + _DEEPER, 6)}"
    return str(renderer.renderToken(tokens, index, options, env))


def _fence(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    code = str(renderer.fence(tokens, index, options, env))
    return code.replace("<pre>", '<pre tabindex="0">', 1)  # wide lines scroll, with the keyboard too


def _table_open(*_: Any) -> str:
    return '<div class="cilf-wide" tabindex="0" role="region" aria-label="Table of the model card"><table>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _link(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "noreferrer noopener nofollow")
    tokens[index].attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, index, options, env))
