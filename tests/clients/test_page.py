"""The chat page holds its reader: following, drafts, failures in their place. In real Chromium, with a model server that does
what the question tells it to."""

import re
import time

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from conftest import PASSWORD
from page_upstream import told
from test_browser import ANSWER, MESSAGE, PHONE, QUICK, Page, chromium, hook, page, signed_in

__all__ = ["chromium", "page", "signed_in"]

QUESTION = hook("composer")
# Lists, headings and code: what changes its height while it grows.
PARAGRAPH = "## A heading\n\nSome words of an answer that goes on.\n\n- one\n- two\n\n```\nsome code\nmore code\n```\n\n"
DISTANCE = "const l = document.querySelector('#messages'); return l.scrollHeight - l.clientHeight - l.scrollTop"


def pieces(text, size=12):
    return [text[start : start + size] for start in range(0, len(text), size)]


def write(page, text):
    """Puts a text into the composer as a paste does, whatever signs are in it."""
    page.find(QUESTION)
    page.driver.execute_script(
        "const q = document.querySelector('#question'); q.value = arguments[0];"
        "q.dispatchEvent(new Event('input', { bubbles: true }))",
        text,
    )


def written(page):
    return page.driver.execute_script("return document.querySelector('#question').value")


def ask(page, text):
    write(page, text)
    page.click(hook("send"))


def choose(page, model):
    page.until(
        lambda: page.driver.execute_script(
            "const m = document.querySelector('#model');"
            "if (![...m.options].some((o) => o.value === arguments[0])) { location.reload(); return false; }"
            "m.value = arguments[0]; m.dispatchEvent(new Event('change')); return true",
            model,
        ),
        seconds=40,
        message=f"the model {model} to be offered",
    )


def distance(page):
    return page.driver.execute_script(DISTANCE)


def press(page, *keys):
    webdriver.ActionChains(page.driver).send_keys(*keys).perform()


def focused(page):
    return page.driver.execute_script("return document.activeElement.id")


def stored_drafts(page):
    """Those of whoever is signed in."""
    return page.driver.execute_script(
        "const mine = `draft:${document.querySelector('#main').dataset.account}:`;"
        "return Object.keys(localStorage).filter((key) => key.startsWith(mine))"
    )


def api(page, method, path, **arguments):
    """Calls the API in another program, as the person who is signed in here."""
    login = requests.post(f"{page.url}/api/auth/login", json={"email": page.email, "password": PASSWORD}, timeout=15)
    headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
    return requests.request(method, page.url + path, headers=headers, timeout=15, **arguments)


@pytest.fixture
def teller(page) -> Page:
    """Somebody who is signed in and has chosen the model that does as it is told."""
    page.email = page.register()
    choose(page, "told")
    return page


def test_the_list_follows_a_fast_answer(teller):
    # Long enough that a slow machine has several looks at it.
    ask(teller, told(pieces=pieces(PARAGRAPH * 30), pause=0.02))
    teller.until(lambda: len(teller.answer_text()) > 600, message="the answer to fill the window")
    distances = []
    while teller.answer_status() == "streaming":
        distances.append(distance(teller))
        time.sleep(0.05)
    assert len(distances) > 5, "it was over before it was looked at"
    assert max(distances) <= 8, distances
    assert distance(teller) <= 8


def test_a_reader_who_scrolled_up_is_left_where_they_are(teller):
    ask(teller, told(pieces=pieces(PARAGRAPH * 14), pause=0.03))
    teller.until(lambda: len(teller.answer_text()) > 900, message="the answer to fill the window")
    messages = teller.find("#messages")
    origin = ScrollOrigin.from_element(messages)
    webdriver.ActionChains(teller.driver).scroll_from_origin(origin, 0, -400).perform()
    teller.until(lambda: distance(teller) > 200, message="the list to be scrolled up")
    time.sleep(0.3)
    where = teller.driver.execute_script("return document.querySelector('#messages').scrollTop")
    assert teller.answer_status() == "streaming", "it was over before it was looked at"
    teller.wait_for_status("complete")
    assert abs(teller.driver.execute_script("return document.querySelector('#messages').scrollTop") - where) <= 2
    teller.click(hook("to-newest"))
    teller.until(lambda: distance(teller) <= 8, message="the newest")
    assert not teller.driver.find_element(By.CSS_SELECTOR, hook("to-newest")).is_displayed()


def test_what_is_finished_stays_untouched_while_more_comes(teller):
    code = "```\nlet x = 1;\n```\n\nThe first paragraph.\n\n"
    ask(teller, told(pieces=[code, *pieces(PARAGRAPH * 5)], pause=0.05))
    teller.until(lambda: teller.all(f"{ANSWER} .code button"), message="the code's button")
    teller.driver.execute_script(
        "const a = document.querySelector(arguments[0]); a.querySelector('.code button').focus();"
        "a.querySelector('.prose > p').mark = 'same'; getSelection().selectAllChildren(a.querySelector('.prose > p'))",
        ANSWER,
    )
    assert teller.answer_status() == "streaming"
    teller.wait_for_status("complete")
    state = teller.driver.execute_script(
        "const a = document.querySelector(arguments[0]);"
        "return [document.activeElement === a.querySelector('.code button'), a.querySelector('.prose > p').mark, String(getSelection())]",
        ANSWER,
    )
    assert state == [True, "same", "The first paragraph."]


def test_a_long_conversation_opens_at_its_end(teller):
    ask(teller, told(pieces=[PARAGRAPH * 20]))
    teller.wait_for_status("complete")
    teller.driver.refresh()
    teller.find(ANSWER)
    # At once, and not after a journey through all of it.
    assert distance(teller) <= 8


def test_the_skip_link_skips_and_loses_nothing(signed_in):
    page = signed_in
    page.ask(QUICK)
    page.wait_for_status("complete")
    write(page, "A draft")
    page.driver.execute_script("window.marker = 'same page'; document.querySelector('.skip').focus()")
    press(page, Keys.ENTER)
    page.until(lambda: page.path().endswith("#main"), message="the fragment")
    time.sleep(0.3)
    assert page.driver.execute_script("return window.marker") == "same page"
    assert (focused(page), written(page)) == ("main", "A draft")
    page.driver.execute_script("document.querySelectorAll('.skip')[1].focus()")
    press(page, Keys.ENTER)
    page.until(lambda: focused(page) == "question", message="the composer to have the focus")
    # And back is still another page.
    page.driver.back()
    page.driver.back()
    page.driver.back()
    page.until(lambda: page.driver.execute_script("return window.marker") is None, message="the page before")


def sign_in(page):
    page.fill("[name='email']", page.email)
    page.fill("[name='password']", PASSWORD).send_keys(Keys.ENTER)
    page.find(QUESTION)


def test_a_draft_survives_the_end_of_the_session(teller):
    text = "Three paragraphs.\n\nThat took a while.\n\nTo write."
    write(teller, text)
    teller.driver.delete_all_cookies()
    teller.click(hook("send"))
    teller.find("[name='password']")
    assert "why=ended" in teller.path()
    assert "session has ended" in teller.find("[role='status'], .notice").text
    sign_in(teller)
    assert written(teller) == text
    choose(teller, "told")
    teller.click(hook("send"))
    teller.wait_for_status("complete")
    teller.driver.refresh()
    teller.find(ANSWER)
    assert (written(teller), stored_drafts(teller)) == ("", [])


def test_a_draft_belongs_to_its_conversation_and_ends_with_signing_out(teller):
    ask(teller, "Hello")
    teller.wait_for_status("complete")
    write(teller, "On with this one")
    teller.open("/")
    assert written(teller) == ""
    teller.click(hook("conversation"))
    teller.find(ANSWER)
    assert written(teller) == "On with this one"
    teller.find("form[action='/sign-out'] button").click()
    sign_in(teller)
    assert stored_drafts(teller) == []
    # Somebody else's account in the same browser has drafts of its own.
    write(teller, "Mine")
    teller.until(lambda: stored_drafts(teller), message="the draft to be kept")
    teller.driver.delete_all_cookies()
    teller.register()
    assert written(teller) == ""


def test_a_text_too_long_is_refused_whole(teller):
    text = "x" * 250_000 + " And the question?"
    write(teller, text)
    assert teller.find(hook("count")).text.startswith("250,018 of 200,000")
    teller.click(hook("send"))
    assert "250,018" in teller.find(hook("notice")).text
    assert (len(written(teller)), teller.all(MESSAGE)) == (len(text), [])
    # Counted as people do: a sign outside the basic plane is one.
    write(teller, "😀" * 100_000)
    teller.until(lambda: not teller.driver.find_element(By.CSS_SELECTOR, hook("count")).is_displayed(), message="no count")


def test_signs_that_cannot_be_stored_do_not_stop_a_question(teller):
    teller.driver.execute_script(
        "const q = document.querySelector('#question'); q.value = 'half \\ud83d of it\\0'; q.dispatchEvent(new Event('input'))"
    )
    teller.click(hook("send"))
    teller.wait_for_status("complete")
    assert written(teller) == ""


def test_enter_that_confirms_an_input_method_does_not_send(teller):
    write(teller, "日本語")
    for event in ("keyCode: 229", "keyCode: 13, isComposing: true"):
        teller.driver.execute_script(
            "document.querySelector('#question').dispatchEvent("
            f"new KeyboardEvent('keydown', {{ key: 'Enter', bubbles: true, cancelable: true, {event} }}))"
        )
    time.sleep(0.3)
    assert (written(teller), teller.all(MESSAGE)) == ("日本語", [])
    teller.find(QUESTION).send_keys(Keys.ENTER)
    teller.wait_for_status("complete")


def why(page):
    return page.find(f"{ANSWER} {hook('why')}").text


def test_a_failure_stands_in_the_answers_place_and_stays(teller):
    refusal = {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}
    ask(teller, "Too long " + told(status=400, error=refusal))
    teller.wait_for_status("failed")
    assert "too long for this model" in why(teller)
    said = teller.driver.execute_script("return document.querySelector('#announce').textContent")
    assert "broke off" in said
    assert not teller.driver.find_element(By.ID, "toast").is_displayed(), "it is told once"
    teller.driver.refresh()
    assert "too long for this model" in why(teller)
    question = teller.find(f"{MESSAGE} .text").text
    teller.click(hook("remedy-new"))
    teller.until(lambda: teller.path() == "/", message="a new chat")
    assert written(teller) == question


def test_trying_again_waits_as_long_as_it_should(teller):
    ask(teller, told(status=429, error={"message": "slow down"}, headers={"Retry-After": "40"}))
    teller.wait_for_status("failed")
    again = teller.find(hook("regenerate"))
    assert not again.is_enabled()
    assert re.fullmatch(r"Try again in \d+ seconds", again.text)


def test_another_model_is_offered_and_remembered(teller):
    ask(teller, told(status=500, error={"message": "no"}))
    teller.wait_for_status("failed")
    teller.click(hook("remedy-model"))
    assert focused(teller) == "model"
    choose(teller, "told-too")
    teller.open("/")
    assert teller.driver.execute_script("return document.querySelector('#model').value") == "told-too"


def test_a_cut_answer_can_be_continued(teller):
    ask(teller, told(pieces=["Half of"], finish="length"))
    teller.until(lambda: teller.all(hook("remedy-continue")), message="the remedy")
    assert "length limit" in why(teller)
    teller.click(hook("remedy-continue"))
    teller.until(lambda: len(teller.answers()) == 2 and teller.answer_status() == "complete", message="the rest")


def test_only_the_reader_stops_an_answer(teller):
    ask(teller, told(pieces=["Half of it"], cut=True))
    teller.wait_for_status("partial")
    assert "Stopped" not in teller.last_answer().text
    why(teller)
    ask(teller, told(pieces=["word "] * 500, pause=0.05))
    teller.until(lambda: teller.answer_status() == "streaming" and teller.answer_text(), message="words")
    teller.click(hook("stop"))
    teller.wait_for_status("partial")
    assert "Stopped here" in teller.last_answer().text


def test_a_conversation_deleted_elsewhere_says_so_and_keeps_the_text(teller):
    ask(teller, told(pieces=["word "] * 400, pause=0.05))
    teller.until(lambda: teller.answer_status() == "streaming" and teller.answer_text(), message="words")
    conversation = teller.path().removeprefix("/c/")
    write(teller, "And then?")
    assert api(teller, "DELETE", f"/api/conversations/{conversation}").status_code == 204
    assert "deleted" in teller.until(lambda: teller.all(hook("why")), message="the word")[0].text
    teller.find(hook("send"))
    teller.click(hook("send"))
    assert "deleted" in teller.find(hook("notice")).text
    assert written(teller) == "And then?"
    teller.click(f"{hook('notice')} {hook('remedy-new')}")
    teller.until(lambda: teller.path() == "/", message="a new chat")
    assert written(teller) == "And then?"


def test_a_question_beside_another_is_refused_in_words(teller):
    ask(teller, "Hello")
    teller.wait_for_status("complete")
    conversation = teller.path().removeprefix("/c/")
    other = api(
        teller,
        "POST",
        f"/api/conversations/{conversation}/messages",
        json={"content": told(pieces=["word "] * 200, pause=0.05), "model": "told"},
        stream=True,
    )
    assert other.status_code == 200
    lines = other.iter_lines()
    assert next(lines)
    ask(teller, "Me too")
    notice = teller.find(hook("notice")).text
    other.close()
    assert "still being written" in notice
    assert written(teller) == "Me too"


def test_enter_while_an_answer_comes_says_something(teller):
    ask(teller, told(pieces=["word "] * 200, pause=0.05))
    teller.until(lambda: teller.answer_text(), message="words")
    write(teller, "Next")
    teller.find(QUESTION).send_keys(Keys.ENTER)
    assert "Wait for it, or stop it" in teller.find(hook("notice")).text
    assert written(teller) == "Next"
    press(teller, Keys.ESCAPE)
    teller.wait_for_status("partial")
    assert written(teller) == "Next"


def test_links_of_an_answer_open_beside_it(teller):
    ask(teller, told(pieces=["See [this](https://example.com/)."]))
    teller.wait_for_status("complete")
    link = teller.find(f"{ANSWER} a")
    assert link.get_attribute("target") == "_blank"
    assert "noopener" in link.get_attribute("rel")


def test_without_a_name_a_conversation_is_not_renamed(teller):
    ask(teller, "Hello")
    teller.wait_for_status("complete")
    teller.click(hook("rename"))
    teller.fill("dialog[open] input", "  ").send_keys(Keys.ENTER)
    assert "letter" in teller.find("#dialog-fault").text
    teller.fill("dialog[open] input", "Syrup").send_keys(Keys.ENTER)
    teller.until(lambda: teller.conversation_titles() == ["Syrup"], message="the new title")


@pytest.mark.parametrize("size", [7_000, 70_000])
def test_the_last_words_are_shown_before_the_answer_ends(teller, size):
    """However long an answer is, however seldom it can be rendered, and whatever its model waits for."""
    words = pieces("word " * (size // 5), size // 70)
    ask(teller, told(pieces=[*words, " And so", " it ends", " here."], pause=0.01, hold=120))
    teller.until(lambda: "And so it ends here." in teller.answer_text(), seconds=110, message="the last words")
    assert teller.answer_status() == "streaming"
    teller.click(hook("stop"))
    teller.wait_for_status("partial")
    assert "And so it ends here." in teller.answer_text()


def test_a_question_that_is_stopped_on_its_way_is_not_there_twice(teller):
    ask(teller, "Hello")
    teller.wait_for_status("complete")
    teller.driver.execute_cdp_cmd("Network.enable", {})
    slow = {"offline": False, "latency": 800, "downloadThroughput": -1, "uploadThroughput": -1}
    teller.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        ask(teller, "And then? " + told(pieces=["word "] * 300, pause=0.05))
        teller.click(hook("stop"))
        teller.until(lambda: not teller.driver.find_element(By.CSS_SELECTOR, hook("stop")).is_displayed(), message="its end")
    finally:
        teller.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "latency": 0})
    assert (len(teller.all(MESSAGE)), written(teller)) == (4, "")
    assert teller.all(hook("end"))[-1].text == "Stopped here"
    teller.driver.refresh()
    teller.find(MESSAGE)
    assert (len(teller.all(MESSAGE)), written(teller)) == (4, "")


def test_the_question_has_the_focus_where_there_is_a_keyboard(teller):
    """With a mouse or without one: a person on the keyboard alone has none."""
    for path in ("/", "/keys", "/"):
        teller.open(path)
    teller.until(lambda: focused(teller) == "question", message="the focus")
    ask(teller, told(pieces=["word "] * 300, pause=0.05))
    teller.until(lambda: teller.answer_text(), message="words")
    teller.find(hook("stop")).send_keys(Keys.ENTER)
    teller.wait_for_status("partial")
    assert focused(teller) == "question"


def test_a_phone_that_reads_is_not_asked_to_type(teller):
    teller.device("setDeviceMetricsOverride", **PHONE)
    teller.device("setTouchEmulationEnabled", enabled=True)
    try:
        teller.open("/")
        teller.find(QUESTION)
        assert teller.driver.execute_script("return matchMedia('(pointer: coarse)').matches")
        assert focused(teller) != "question"
        ask(teller, told(pieces=["word "] * 300, pause=0.05))
        teller.until(lambda: teller.answer_text(), message="words")
        teller.click(hook("stop"))
        teller.wait_for_status("partial")
        assert focused(teller) == "messages", "it never falls to nowhere"
    finally:
        teller.device("setTouchEmulationEnabled", enabled=False)
