"""axe-core's rules on every tab, in light and dark; with more in a tab, the tab's own tests ask for them."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.running import findings


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_on_any_tab(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(color_scheme=scheme, reduced_motion="reduce")
    page.click("#example-hopper")
    expect(page.locator("#age")).to_be_visible()
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        assert findings(page) == [], tab.inner_text()
