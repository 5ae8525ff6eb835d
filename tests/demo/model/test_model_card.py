"""A model card of anybody's is shown, and nothing in it obeyed or fetched."""

import pytest

from cilf.demo.model.model_card import to_html


def test_code_scrolls_with_the_keyboard() -> None:
    card = to_html("```python\nprint('<b>')\n```\n")
    assert card.startswith('<pre tabindex="0"><code')
    assert "<b>" not in card


@pytest.mark.parametrize(
    "card",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![<img src=x onerror=alert(1)>](https://example.org/x.png)",
        "![a][b]\n\n[b]: https://example.org/x.png",
        "[a](javascript:alert(1)) [b](data:text/html,x) [c](vbscript:x)",
        "# <iframe src=x>",
        "| <b> |\n|---|\n| <style>*{}</style> |",
        '[a](https://example.org/" onclick="alert(1))',
    ],
)
def test_nothing_in_it_is_obeyed_or_fetched(card: str) -> None:
    shown = to_html(card)
    for tag in (
        "<script",
        "<img",
        "<iframe",
        "<b>",
        "<style",
        'href="javascript',
        'href="data',
        ' src="',
        '" onclick',
    ):
        assert tag not in shown


def test_metadata_is_left_out_and_headings_lie_below_the_pages() -> None:
    shown = to_html("---\nlicense: other\n---\n# Title\n\n## Part\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert "license" not in shown
    assert "<h3>Title</h3>" in shown
    assert "<h4>Part</h4>" in shown
    assert "<td>1</td>" in shown


def test_a_line_of_dashes_further_down_is_kept() -> None:
    assert "after" in to_html("before\n\n---\n\nbetween\n\n---\n\nafter")
