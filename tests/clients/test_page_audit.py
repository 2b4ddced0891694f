"""The audit log as owners and admins see it: what was done, filtered by a form that needs no script."""

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from conftest import PASSWORD
from test_browser import PHONE, chromium, hook, page, signed_in, wider_than_the_screen
from test_page_access import LONG_NAME, axe, everywhere, focused, make_key

__all__ = ["axe", "chromium", "page", "signed_in"]

ROWS = "table.audit tbody tr"


def rows(page):
    return [row.get_attribute("innerText") for row in page.all(ROWS)]


def show(page, **filters):
    """Sends the form with these filters, of which menus are given by what stands in them."""
    for name, value in filters.items():
        field = page.find(f"[name='{name}']")
        if field.tag_name == "select":
            Select(field).select_by_visible_text(value)
        else:
            page.driver.execute_script("arguments[0].value = arguments[1]", field, value)
    page.click(hook("audit-filter"))
    page.until(lambda: all(f"{name}=" in page.path() for name in filters), message="the filtered page")


def test_no_barrier_in_the_audit_log(signed_in, axe):
    page = signed_in
    page.open("/keys")
    make_key(page, LONG_NAME)
    page.click("nav a[href='/audit']")
    page.find(ROWS)
    assert page.find("nav a[aria-current='page']").text == "Audit log"
    everywhere(page, axe, "events")
    page.device("setDeviceMetricsOverride", **PHONE)
    assert not wider_than_the_screen(page)
    page.device("clearDeviceMetricsOverride")
    page.open("/audit?from=1999-01-01&to=1999-12-31")
    assert page.find(hook("no-events")).text == "No event fits these filters."
    everywhere(page, axe, "no events")
    page.open("/audit?action=nothing&from=2026-99-99")
    assert "member.role_changed" in page.find("[role='alert']").text
    assert "such as 2026-11-30" in page.find("[role='alert']").text
    everywhere(page, axe, "wrong filters")


@pytest.mark.parametrize("script", [True, False])
def test_events_are_filtered_by_a_form(signed_in, script):
    page = signed_in
    page.open("/keys")
    make_key(page, "the nightly job")
    page.device("setScriptExecutionDisabled", value=not script)
    try:
        page.open("/audit")
        page.find(ROWS)
        assert len(page.all(ROWS)) == 3, "registered, signed in, and a key"
        # Without script nothing can be run in the page either: all by keyboard.
        menu = page.find("[name='action']")
        menu.send_keys("API key created")
        page.find(hook("audit-filter")).send_keys(Keys.ENTER)
        page.until(lambda: "action=api_key.created" in page.path(), message="the filtered page")
        (row,) = page.all(ROWS)
        cells = [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        assert cells[1:4] == ["Ada Browser", "API key created", "API key the nightly job"]
        assert cells[5] == "127.0.0.1"
        assert Select(page.find("[name='action']")).first_selected_option.text == "API key created"
        row.find_element(By.LINK_TEXT, "Ada Browser").click()
        page.until(lambda: "actor=" in page.path(), message="what one person did")
        assert len(page.all(ROWS)) == 3
        page.click("a[data-test='audit-all']")
        page.until(lambda: page.path() == "/audit", message="all events")
    finally:
        page.device("setScriptExecutionDisabled", value=False)


def test_older_events_follow_with_the_same_filters(signed_in):
    page = signed_in
    page.open("/audit")
    email = page.driver.find_element(By.CSS_SELECTOR, "#actor option:nth-child(2)").get_attribute("textContent").split("(")[1][:-1]
    for _ in range(52):
        login = requests.post(f"{page.url}/api/auth/login", json={"email": email, "password": PASSWORD}, timeout=30)
        assert login.status_code == 200, login.text
    show(page, action="Signed in")
    page.find(ROWS)
    newest = rows(page)
    assert len(newest) == 50
    page.click(hook("older-events"))
    page.until(lambda: "cursor=" in page.path(), message="the older part")
    assert len(page.all(ROWS)) == 3
    assert "action=session.signed_in" in page.path()
    assert all("Signed in" in row for row in rows(page))
    page.find(".parts a").send_keys(Keys.ENTER)
    page.until(lambda: "cursor=" not in page.path(), message="the newest part")
    assert rows(page) == newest


def test_members_are_not_shown_the_audit_log(signed_in):
    page = signed_in
    page.open("/settings")
    page.fill("#email", "member@browser.example").send_keys(Keys.ENTER)
    invitation = page.find("#invitation-url").text
    page.driver.delete_all_cookies()
    page.driver.get(invitation)
    page.fill("[name='name']", "A Member")
    page.fill("[name='password']", PASSWORD).send_keys(Keys.ENTER)
    page.find(hook("composer"))
    for path in ("/", "/settings"):
        page.open(path)
        page.find("a[href='/keys']")
        assert not page.all("a[href='/audit']"), path
    page.open("/audit")
    assert "role" in page.find("main").text
    assert not page.all(ROWS)


def test_the_filters_are_reached_by_keyboard(signed_in):
    page = signed_in
    page.open("/audit")
    page.driver.execute_script("document.querySelector('#actor').focus()")
    order = []
    for _ in range(12):
        order.append(focused(page) or page.driver.switch_to.active_element.get_attribute("data-test"))
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
    reached = [name for name in dict.fromkeys(order) if name]
    assert reached[:5] == ["actor", "action", "from", "to", "audit-filter"], reached
