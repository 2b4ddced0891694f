"""Everybody can use the pages: by keyboard, by ear, on small screens, on paper, in their own direction and time."""

import base64
import os
import pathlib
import re
import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from conftest import PASSWORD
from page_upstream import told
from test_browser import ANSWER, MESSAGE, PHONE, QUICK, chromium, hook, page, signed_in
from test_page import QUESTION, ask, focused, press, teller, write

__all__ = ["chromium", "page", "signed_in", "teller"]

RICH = """# A heading

Text with `code`, **bold** and a [link](https://example.com/).

- [x] done
- [ ] open

| Name | Value |
|---|---|
| One | a rather long value, so that the table is wider than a phone would have it, and has to scroll |

```
a line of code that is long enough to be wider than the column in which it stands, so that it scrolls sideways in its box
```

> A quote.
"""
LONG_NAME = "The nightly job of the data warehouse that nobody dares to touch, on the machine on the left"


@pytest.fixture(scope="module")
def axe():
    return pathlib.Path(os.environ["MAPLE_AXE"]).read_text(encoding="utf-8")


def violations(page, axe):
    """What axe-core finds against WCAG 2.2 AA and its own best practices, as rule and first element."""
    page.driver.execute_script(axe)
    found = page.driver.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, { resultTypes: ['violations'] }).then("
        "  ({ violations }) => done(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 160)}`)),"
        "  (error) => done([String(error)]));"
    )
    return found


def everywhere(page, axe, state):
    """Light and dark, wide and narrow."""
    for scheme in ("light", "dark"):
        page.device("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for width in (1280, 390):
            page.device("setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 400)
            # Colours change at once, but what slides in takes its time.
            time.sleep(0.3)
            assert not violations(page, axe), f"{state}, {scheme}, {width} px"
    page.device("clearDeviceMetricsOverride")


def test_no_barrier_before_signing_in(page, axe):
    for path in ("/sign-in", "/sign-in?why=ended&next=/keys", "/register", "/nowhere", "/api/docs"):
        page.open(path)
        if path == "/api/docs":
            page.until(lambda: page.all("details"), message="the operations")
            assert "`" not in page.find("main").get_attribute("textContent"), "code is set as code"
        everywhere(page, axe, path)
    page.open("/sign-in")
    page.fill("[name='email']", "nobody@browser.example")
    page.fill("[name='password']", PASSWORD).send_keys(Keys.ENTER)
    page.find("[role='alert']")
    everywhere(page, axe, "a wrong password")
    assert focused(page) == "password", "the address is filled in already"


def test_no_barrier_in_a_conversation(teller, axe):
    everywhere(teller, axe, "a new chat")
    ask(teller, told(pieces=[RICH]))
    teller.wait_for_status("complete")
    everywhere(teller, axe, "a rich answer")
    ask(teller, told(status=500, error={"message": "no"}))
    teller.wait_for_status("failed")
    everywhere(teller, axe, "a failed answer")
    ask(teller, told(pieces=["word "] * 900, pause=0.05))
    teller.until(lambda: teller.answer_text(), message="words")
    everywhere(teller, axe, "an answer that comes")
    teller.click(hook("stop"))
    teller.wait_for_status("partial")
    write(teller, "x" * 210_000)
    teller.click(hook("send"))
    teller.find(hook("notice"))
    everywhere(teller, axe, "an objection")
    write(teller, "")
    teller.click(hook("rename"))
    everywhere(teller, axe, "the dialog")


def make_key(page, name):
    page.fill("[name='name']", name)
    page.click(hook("key-create"))
    page.until(lambda: name[:20] in page.find("#keys tbody tr").text, message="the key's row")


def test_no_barrier_in_keys_and_settings(signed_in, axe):
    page = signed_in
    page.open("/keys")
    everywhere(page, axe, "no keys")
    make_key(page, LONG_NAME)
    everywhere(page, axe, "a key")
    page.open("/settings")
    page.fill("#email", "somebody@browser.example").send_keys(Keys.ENTER)
    invitation = page.find("#invitation-url").text
    page.driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    everywhere(page, axe, "settings")
    page.driver.get(invitation)
    page.fill("[name='name']", "Somebody")
    everywhere(page, axe, "an invitation")
    page.fill("[name='password']", "too short").send_keys(Keys.ENTER)
    page.find("#password-fault")
    assert focused(page) == "password"
    everywhere(page, axe, "a refused password")


@pytest.mark.parametrize("width", [1280, 901, 900, 390, 320])
def test_what_can_be_done_with_a_row_is_in_view(signed_in, width):
    page = signed_in
    page.open("/keys")
    make_key(page, LONG_NAME)
    page.device("setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
    for path, selector in (("/keys", hook("key-revoke")), ("/settings", "form[action^='/settings/members/'] button, .badge")):
        page.open(path)
        box = page.find(selector).rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width, (path, box)


@pytest.mark.parametrize("width", [1280, 390])
def test_tables_scroll_only_where_they_must(signed_in, width):
    page = signed_in
    page.device("setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
    page.open("/settings")
    page.find(".scroll")
    scrolling = page.driver.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth || "
        "box.scrollHeight > box.clientHeight).map((box) => box.getAttribute('aria-labelledby'))"
    )
    assert not scrolling


@pytest.mark.parametrize("width", [1280, 390])
def test_a_wide_table_in_an_answer_scrolls_and_is_not_squeezed(teller, width):
    page = teller
    page.device("setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
    row = "| " + " | ".join(["Some words that need their room to be read, more than a line of them", *["n log n"] * 4]) + " |"
    ask(page, told(pieces=["| a | b | c | d | e |\n|---|---|---|---|---|\n" + row]))
    page.wait_for_status("complete")
    cell, box, whole = page.driver.execute_script(
        "const cell = document.querySelector('.prose td'), box = cell.closest('.prose > *');"
        "return [cell.offsetWidth, [box.scrollWidth, box.clientWidth], document.documentElement.scrollWidth]"
    )
    assert cell > 250, "columns are not squeezed"
    assert (box[0] > box[1]) == (width == 390), box
    assert whole <= width


def test_figures_and_times_can_be_read(signed_in):
    page = signed_in
    page.ask(QUICK)
    page.wait_for_status("complete")
    page.open("/settings")
    since = page.find("section[aria-labelledby='sessions'] time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", since.get_attribute("title")), "UTC is said"
    assert "UTC" not in since.text, "and here it is the person's own time"
    assert re.fullmatch(r"\$[\d,]+\.\d\d+", page.all(".figures dd")[3].text)


def test_sessions_are_told_apart_by_what_uses_them(signed_in):
    page = signed_in
    page.open("/settings")
    row = page.find("section[aria-labelledby='sessions'] tbody tr").text
    assert "Chrome on Linux" in row
    assert "This browser" in row


def test_the_drawer_takes_the_focus_and_gives_it_back(signed_in):
    page = signed_in
    page.device("setDeviceMetricsOverride", **PHONE)
    page.open("/")
    page.click("#open-sidebar")
    assert focused(page) == "new-chat"
    # Whatever lies behind is out of reach.
    assert page.driver.execute_script("return document.querySelector('#main').inert")
    for _ in range(12):
        press(page, Keys.TAB)
        assert page.driver.execute_script("return !document.activeElement.closest('#main')")
    press(page, Keys.ESCAPE)
    assert focused(page) == "open-sidebar"
    assert not page.driver.execute_script("return document.querySelector('#main').inert")


@pytest.mark.parametrize(("width", "height"), [(320, 568), (320, 256), (768, 900)])
def test_small_screens_hold_all_of_the_chat(signed_in, width, height):
    page = signed_in
    page.device("setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.ask("A very long word: " + "maple" * 60 + " " + QUICK)
    page.wait_for_status("complete")
    write(page, "")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    send = page.find(hook("send")).rect
    assert send["x"] + send["width"] <= width
    assert send["y"] + send["height"] <= height
    assert page.driver.execute_script("return document.querySelector('#messages').clientHeight") >= 64
    composer = page.find("#composer").rect
    assert composer["height"] < 130, "the hint does not make it grow"


def test_printing_gives_the_whole_conversation(teller):
    ask(teller, told(pieces=["A paragraph of an answer that is printed.\n\n" * 300]))
    teller.wait_for_status("complete")
    pdf = base64.b64decode(teller.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5


def test_an_answer_is_announced_and_not_read_out(teller):
    teller.driver.execute_script(
        "window.said = []; new MutationObserver(() => said.push(document.querySelector('#announce').textContent))"
        ".observe(document.querySelector('#announce'), { childList: true, characterData: true, subtree: true })"
    )
    ask(teller, told(pieces=["One two three ", "four five six.", " Seven."], pause=0.1))
    teller.wait_for_status("complete")
    teller.until(lambda: len(teller.driver.execute_script("return said")) >= 2, message="both announcements")
    assert teller.driver.execute_script("return said") == ["told is answering", "Answer complete, 7 words"]
    log = teller.find("#messages")
    assert (log.get_attribute("role"), log.get_attribute("aria-live")) == ("log", "off")
    headings = teller.driver.execute_script("return [...document.querySelectorAll('.message > h2')].map((h) => h.ariaLabel ?? h.textContent)")
    assert headings == ["You", "told"]


def test_text_runs_in_its_own_direction(teller):
    ask(teller, "שלום עולם " + told(pieces=["שלום `code`\n\n- אחת\n- שתיים\n\nEnglish again."]))
    teller.wait_for_status("complete")

    def direction(selector):
        return teller.driver.execute_script(
            "return getComputedStyle(document.querySelector(arguments[0])).direction", selector
        )

    assert direction(f"{MESSAGE} .text") == "rtl"
    assert direction(f"{ANSWER} .prose ul") == "rtl"
    assert direction(f"{ANSWER} code") == "ltr"
    assert direction(hook("conversation")) == "rtl"
    write(teller, "שלום")
    assert direction(QUESTION) == "rtl"
    assert direction("html") == "ltr"


def test_colours_follow_a_choice_and_the_system_again(signed_in):
    page = signed_in
    themes = []
    for _ in range(3):
        page.click("[data-theme-toggle]")
        themes.append(page.driver.execute_script("return document.documentElement.dataset.theme ?? 'system'"))
    assert themes == ["light", "dark", "system"]
    assert page.driver.execute_script("return localStorage.getItem('theme')") is None


def test_colours_that_a_person_forces_lose_nothing(teller):
    teller.device("setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    ask(teller, told(pieces=["word "] * 300, pause=0.05))
    teller.until(lambda: teller.answer_text(), message="words")
    cursor, ground = teller.driver.execute_script(
        "const p = document.querySelector(arguments[0] + ' .prose > p:last-child, ' + arguments[0] + ' .prose');"
        "const last = document.querySelector(arguments[0] + ' .prose > p:last-child') ?? p;"
        "return [getComputedStyle(last, '::after').backgroundColor, getComputedStyle(document.body).backgroundColor]",
        ANSWER,
    )
    assert cursor != ground
    border = teller.driver.execute_script("return getComputedStyle(document.querySelector('.message .text')).borderTopWidth")
    assert border != "0px", "questions differ from answers by more than colour"
    teller.driver.find_element(By.CSS_SELECTOR, hook("stop")).click()
    teller.wait_for_status("partial")
