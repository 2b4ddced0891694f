"""An answer that the page did not ask for itself: it was reloaded, or is a second tab. And what stands of one that is stopped."""

import pytest
import requests

from test_browser import ANSWER, MESSAGE, chromium, hook, page
from test_page import PARAGRAPH, api, ask, distance, focused, teller, why, write, written
from page_upstream import told

__all__ = ["chromium", "page", "teller"]

SAID = "return document.querySelector('#announce').textContent"
CURSOR = (
    "const a = document.querySelector(arguments[0]);"
    "return [a.querySelector('.prose'), ...a.querySelectorAll('.prose > *')]"
    ".some((e) => getComputedStyle(e, '::after').animationName === 'blink')"
)
PROSE = f"{ANSWER} .prose"


def has_cursor(page):
    return page.driver.execute_script(CURSOR, ANSWER)


def words(count):
    return [f"s{number} " for number in range(count)]


@pytest.fixture
def second_tab(teller):
    """Opens the page that is open in another tab, where all goes on; the first is kept."""
    first = teller.driver.current_window_handle

    def open_tab():
        url = teller.driver.current_url
        teller.driver.switch_to.new_window("tab")
        teller.driver.get(url)
        teller.find(ANSWER)

    yield open_tab
    for handle in set(teller.driver.window_handles) - {first}:
        teller.driver.switch_to.window(handle)
        teller.driver.close()
    teller.driver.switch_to.window(first)


def test_an_answer_whose_page_was_reloaded_is_seen_to_have_ended(teller):
    ask(teller, told(pieces=[PARAGRAPH * 8, *words(400)], pause=0.05))
    teller.until(lambda: "s5" in teller.answer_text(), message="words")
    write(teller, "A draft")
    teller.driver.refresh()
    teller.find(ANSWER)
    teller.wait_for_status("partial")
    ends = teller.driver.find_elements("css selector", f"{ANSWER} {hook('end')}")
    assert [end.text for end in ends] == ["The answer was stopped, or its page was left, before it was finished."]
    assert "s5" in teller.answer_text()
    assert not has_cursor(teller)
    teller.find(hook("regenerate"))
    assert distance(teller) <= 8, "what can be done is in sight"
    assert "was stopped" in teller.driver.execute_script(SAID)
    assert (focused(teller), written(teller)) == ("question", "A draft")
    teller.click(hook("regenerate"))
    teller.until(lambda: teller.answer_status() == "streaming", message="another try")


def test_a_second_tab_sees_an_answer_grow_and_end(teller, second_tab):
    ask(teller, told(pieces=["The first paragraph.\n\n```\n", *(f"{word}\n" for word in words(120))], pause=0.15))
    teller.until(lambda: "s3" in teller.answer_text(), message="words")
    second_tab()
    teller.find(f"{ANSWER} .code button")
    scrolls = "const l = document.querySelector('#messages'); return l.scrollHeight > l.clientHeight + 100"
    teller.until(lambda: teller.driver.execute_script(scrolls), message="the answer to fill the window")
    assert distance(teller) <= 8, "the list follows"
    assert has_cursor(teller)
    assert not teller.driver.find_element("id", "after").is_displayed(), "nothing is asked again meanwhile"
    teller.driver.execute_script(
        "const a = document.querySelector(arguments[0]); a.querySelector('.code button').focus({ preventScroll: true });"
        "document.querySelector('#messages').scrollTop = 0; a.querySelector('.prose > p').mark = 'same'",
        ANSWER,
    )
    lengths = set()
    teller.until(lambda: lengths.add(len(teller.answer_text())) or len(lengths) >= 3, message="the answer to grow")
    assert teller.answer_status() == "streaming"
    teller.wait_for_status("complete", seconds=40)
    assert "s119" in teller.answer_text()
    assert not has_cursor(teller)
    assert teller.driver.execute_script(SAID).startswith("Answer complete")
    state = teller.driver.execute_script(
        "const a = document.querySelector(arguments[0]);"
        "return [document.activeElement === a.querySelector('.code button'), document.querySelector('#messages').scrollTop,"
        "a.querySelector('.prose > p').mark]",
        ANSWER,
    )
    assert state == [True, 0, "same"]
    assert teller.driver.find_element("id", "regenerate").is_displayed()


def test_a_second_tab_shows_why_an_answer_broke_off(teller, second_tab):
    ask(teller, told(pieces=words(40), pause=0.1, cut=True))
    teller.until(lambda: "s3" in teller.answer_text(), message="words")
    second_tab()
    teller.wait_for_status("partial")
    assert why(teller)
    assert teller.find(f"{hook('why')} {hook('regenerate')}").text == "↻ Try again"


def test_a_second_tab_sees_one_answer_replace_another(teller, second_tab):
    teller.driver.execute_script("localStorage.clear()")
    ask(teller, "Hello")
    teller.wait_for_status("complete")
    ask(teller, told(pieces=words(50), pause=0.1))
    teller.wait_for_status("complete")
    teller.click(hook("regenerate"))
    teller.until(lambda: teller.answer_status() == "streaming" and "s3" in teller.answer_text(), message="words")
    second_tab()
    assert len(teller.all(MESSAGE)) == 5, "the old one stands until the new one is there"
    teller.wait_for_status("complete")
    teller.until(lambda: len(teller.all(MESSAGE)) == 4, message="one answer for each question")
    assert teller.answer_text().split()[-1] == "s49"


def test_a_second_tab_is_told_that_its_conversation_was_deleted(teller, second_tab):
    ask(teller, told(pieces=words(400), pause=0.05))
    teller.until(lambda: "s3" in teller.answer_text(), message="words")
    second_tab()
    assert api(teller, "DELETE", f"/api{teller.path().replace('/c/', '/conversations/')}").status_code == 204
    teller.until(lambda: teller.all(hook("why")), message="the word")
    assert "deleted" in why(teller)
    assert not has_cursor(teller)


def test_a_page_whose_session_ended_says_that_it_cannot_see_on(teller, second_tab):
    ask(teller, told(pieces=words(400), pause=0.05))
    teller.until(lambda: "s3" in teller.answer_text(), message="words")
    second_tab()
    path = teller.path()
    write(teller, "A draft")
    teller.driver.delete_all_cookies()
    link = teller.find(f"{ANSWER} {hook('end')} a")
    assert (link.text, link.get_attribute("href")) == ("Load the page again", teller.url + path)
    assert not has_cursor(teller)
    assert (teller.path(), written(teller)) == (path, "A draft")
    link.click()
    teller.find("[name='password']")


def test_a_page_that_nobody_sees_does_not_look(teller, second_tab):
    ask(teller, told(pieces=words(60), pause=0.1))
    teller.until(lambda: "s3" in teller.answer_text(), message="words")
    conversation = teller.path().replace("/c/", "/api/conversations/")
    second_tab()
    teller.driver.execute_script("Object.defineProperty(document, 'hidden', { get: () => !window.seen })")
    before = teller.answer_text()

    def stored():
        return api(teller, "GET", conversation).json()["messages"][-1]["status"]

    teller.until(lambda: stored() == "complete", message="the answer's end")
    assert (teller.answer_status(), teller.answer_text()) == ("streaming", before)
    teller.driver.execute_script("window.seen = true; document.dispatchEvent(new Event('visibilitychange'))")
    teller.wait_for_status("complete")


def test_without_a_script_the_page_says_that_an_answer_is_being_written(teller):
    ask(teller, told(pieces=words(400), pause=0.05))
    teller.until(lambda: "s3" in teller.answer_text(), message="words")
    path = teller.path()
    cookies = {cookie["name"]: cookie["value"] for cookie in teller.driver.get_cookies()}

    def read():
        return requests.get(teller.url + path, cookies=cookies, timeout=15).text

    assert f'still being written. <a href="{path}">' in read()
    teller.click(hook("stop"))
    teller.until(lambda: "was stopped" in read(), message="the answer's end")
    assert "still being written" not in read()


# So long that it is rendered seldom: what follows "and so" waits for a rendering that does not come.
LONG = "word " * 20_000


@pytest.mark.parametrize(
    ("first", "rest", "block", "end"),
    [
        (LONG, ["and so ", "it ", "ends"], "p:only-child", "and so it ends"),
        (LONG, ["and s", "o it", " ends"], "p:only-child", "and so it ends"),
        (LONG, ["and so.", "\n\nIt ", "ends"], "p:last-child", "It ends"),
        (f"{LONG}\n\n- one\n", ["- and so", " it ", "ends"], "ul:last-child > li:last-child", "and so it ends"),
        (f"```\n{LONG}\n", ["and s", "o it ", "ends"], ".code:only-child code", "and so it ends"),
        (f"```\n{LONG}\n", ["```\n", "It ", "ends"], "p:last-child", "It ends"),
    ],
    ids=["word", "half-a-word", "paragraph", "item", "code", "after-code"],
)
def test_the_last_words_of_a_stopped_answer_stand_where_they_belong(teller, first, rest, block, end):
    ask(teller, told(pieces=[first, *rest], pause=0.4, hold=120))
    teller.until(lambda: "ends" in teller.answer_text(), message="the last words")
    teller.click(hook("stop"))
    teller.wait_for_status("partial")
    shown = "return document.querySelector(arguments[0])?.innerText"
    stopped = teller.driver.execute_script(shown, f"{PROSE} > {block}")
    assert stopped and stopped.endswith(end), (stopped or "")[-60:]
    blocks = "return document.querySelector(arguments[0]).querySelectorAll('p, li, pre').length"
    count = teller.driver.execute_script(blocks, PROSE)
    teller.driver.refresh()
    teller.wait_for_status("partial")
    assert teller.driver.execute_script(shown, f"{PROSE} > {block}").split("\n")[-1] == stopped.split("\n")[-1]
    assert teller.driver.execute_script(blocks, PROSE) == count
