"""axe-core's rules on every tab of the page, in light and dark."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical: rule and element, with what is wrong."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{rule['id']} at {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_on_any_tab(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(color_scheme=scheme, reduced_motion="reduce")
    page.click("#example-hopper")
    expect(page.locator("#age")).to_be_visible()
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        assert findings(page) == [], tab.inner_text()
