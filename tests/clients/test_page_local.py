"""A model that is run beside the server: how it is, what a small one is good for, and how to connect a real one."""

import json
import os
import re

import pytest
import requests
from selenium.webdriver.common.keys import Keys

from test_browser import ANSWER, chromium, hook, page
from test_page import api, ask, choose, focused, press, teller
from test_page_access import axe, everywhere
from page_upstream import TITLE, told

__all__ = ["axe", "chromium", "page", "teller"]

MODEL = "smollm2-135m"
SAID = "return document.querySelector('#announce').textContent"


def tell(**state):
    """Replaces the state file, as the process that runs the model does."""
    path = os.environ["LOCAL_STATE"]
    with open(f"{path}.part", "w", encoding="utf-8") as part:
        json.dump(state, part)
    os.replace(f"{path}.part", path)


def ready():
    tell(state="ready", url=os.environ["LOCAL_URL"], key="secret", model=MODEL)


@pytest.fixture
def beside(page, eventually):
    """Somebody who has chosen the model beside the server, which is being downloaded."""
    tell(state="downloading", percent=7)

    # A page that finds the model ready looks again only after an answer.
    def is_known():
        models = requests.get(f"{page.url}/api/models", timeout=10).json()["data"]
        return any(model["id"] == MODEL and model["local"]["percent"] == 7 for model in models)

    eventually(is_known, message="the state to be known")
    page.email = page.register()
    choose(page, MODEL)
    says(page, "is still being downloaded (7 %)")
    return page


def says(page, words, seconds=15):
    page.until(lambda: words in page.find(hook("local-says")).text, seconds=seconds, message=words)


def test_each_state_is_told_without_a_reload(beside):
    beside.driver.execute_script("window.mark = 'same page'")
    bar = beside.find(hook("local-progress"))
    assert bar.get_attribute("value") == "7"
    for state, words, kind in (
        ({"state": "building"}, "SmolLM2 135M is still being built. Until it is ready, answers are made up.", "building"),
        ({"state": "downloading", "percent": 42}, "is still being downloaded (42 %).", "downloading"),
        ({"state": "loading"}, "is still being loaded. Questions wait for it.", "loading"),
        ({"state": "failed", "reason": "the disk is full"}, "could not be started: the disk is full. Answers are made up.", "failed"),
    ):
        tell(**state)
        says(beside, words)
        assert beside.find(hook("local")).get_attribute("data-state") == kind
        assert bar.is_displayed() == (kind == "downloading")
        assert words.split(".")[0] in beside.driver.execute_script(SAID), "it is said, too"
    ready()
    says(beside, "SmolLM2 135M is running on this machine.")
    assert "So small a model is often wrong." in beside.find(hook("local")).text
    assert beside.driver.execute_script("return window.mark") == "same page"


def test_progress_alone_is_not_read_out(beside):
    tell(state="downloading", percent=50)
    says(beside, "(50 %)")
    assert "50" not in beside.driver.execute_script(SAID)


def test_a_conversation_that_began_with_a_made_up_answer_goes_on_with_the_model(beside):
    ask(beside, "Hello")
    beside.wait_for_status("complete")
    assert "This is a canned answer: SmolLM2 135M is still being downloaded (7 %)." in beside.answer_text()
    ready()
    says(beside, "is running on this machine")
    beside.driver.refresh()
    ask(beside, "Hello again")
    beside.until(lambda: len(beside.all(ANSWER)) == 2, message="another answer")
    beside.wait_for_status("complete")
    assert "This is what I was told." in beside.answer_text()
    assert beside.driver.execute_script("return document.querySelector('#model').value") == MODEL


def test_one_that_ends_after_it_was_ready_is_told_with_the_next_answer(beside):
    ready()
    says(beside, "is running on this machine")
    tell(state="failed", reason="it ended three times within a minute")
    # The server looks at the file twice a second; an answer may be quicker.
    beside.until(lambda: "three times" in api(beside, "GET", "/api/models").text, message="the server to know")
    beside.driver.execute_script("document.querySelector('#question').focus()")
    ask(beside, "Hello")
    beside.wait_for_status("complete")
    says(beside, "could not be started: it ended three times within a minute")


def test_the_note_is_there_for_that_model_only(beside):
    choose(beside, "told")
    beside.until(lambda: not beside.all(hook("local"))[0].is_displayed(), message="no note")
    choose(beside, MODEL)
    beside.find(hook("local"))


def test_a_line_for_a_real_model_is_copied_by_keyboard(beside):
    beside.driver.execute_script("document.querySelector('#local summary').focus()")
    press(beside, Keys.ENTER)
    lines = [line.text for line in beside.all(hook("connect-line"))]
    assert [line.split("=")[0] for line in lines] == ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_BASE_URL"]
    press(beside, Keys.TAB, Keys.TAB)
    if focused(beside) != "":
        press(beside, Keys.TAB)
    press(beside, Keys.ENTER)
    beside.until(lambda: beside.find("#toast").text, message="what became of it")


def test_an_answer_says_how_fast_it_came(teller):
    ask(teller, told(pieces=[f"word{number} " for number in range(20)], pause=0.05))
    teller.wait_for_status("complete")
    took = teller.find(hook("took")).text
    speed = re.fullmatch(r"about (\d+) tokens · ([\d.]+) tokens/s", took)
    assert speed, took
    assert 1 < float(speed[2]) < 20 * int(speed[1])


def test_a_long_wait_for_the_first_word_is_told(teller):
    ask(teller, told(pieces=["", "At last."], pause=5))
    waiting = "const p = document.querySelector(arguments[0]); return p && getComputedStyle(p, '::before').content"

    def told_of():
        return teller.driver.execute_script(waiting, f"{ANSWER} .prose") or ""

    teller.until(lambda: "Waiting for the first word" in told_of(), message="that it takes long")
    teller.until(lambda: "At last." in teller.answer_text(), message="the answer")
    assert "Waiting" not in told_of()


def test_how_much_of_a_long_conversation_is_read_is_told(teller):
    ask(teller, told(reading=[320, 881, 1762], pieces=["At last."], pause=5))
    waiting = "const p = document.querySelector(arguments[0]); return p && getComputedStyle(p, '::before').content"

    def told_of():
        return teller.driver.execute_script(waiting, f"{ANSWER} .prose") or ""

    teller.until(lambda: "Reading the conversation, 18 %, " in told_of(), message="how much is read")
    teller.until(lambda: "Reading the conversation, 50 %, " in told_of(), message="that it goes on")
    teller.until(lambda: "At last." in teller.answer_text(), message="the answer")
    assert "Reading" not in told_of()


def test_no_barrier_about_a_local_model(beside, axe):
    everywhere(beside, axe, "a download")
    beside.click("#local summary")
    everywhere(beside, axe, "the lines for a real model")
    tell(state="failed", reason="the disk is full")
    says(beside, "the disk is full")
    everywhere(beside, axe, "a failure")


def test_the_models_title_takes_the_place_of_the_first_words_without_a_reload(beside):
    ready()
    says(beside, "is running on this machine")
    beside.driver.execute_script("window.mark = 'same page'")
    ask(beside, "Where could I go in May?")
    titles = "return [document.querySelector('#title').textContent, document.querySelector('#conversations a')?.textContent, document.title]"
    beside.until(lambda: beside.driver.execute_script(titles) == [TITLE, TITLE, f"{TITLE} · MapleAI"], seconds=30, message="the model's title")
    assert beside.driver.execute_script("return window.mark") == "same page"
