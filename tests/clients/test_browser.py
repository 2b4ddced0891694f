"""The page for people, used in real Chromium as a person uses it."""

import os
import re
import shutil
import time
import uuid

import pytest
import requests
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from conftest import PASSWORD

# About ten seconds of answer: time to watch it grow and to stop it.
SLOW = "Tell me slowly [[mock:tokens=200]] [[mock:delay=50ms]]"
QUICK = "Tell me quickly [[mock:tokens=20]] [[mock:delay=5ms]]"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


def hook(name):
    return f"[data-test='{name}']"


MESSAGE = hook("message")
ANSWER = f"{MESSAGE}[data-role='assistant']"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
    )
    for argument in (
        "--headless=new",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "--window-size=1200,900",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        # Its sandbox refuses to work for root, as in a container.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()


class Page:
    """A tab, and the few things a person does in it."""

    def __init__(self, driver, url):
        self.driver = driver
        self.url = url

    def open(self, path="/"):
        self.driver.get(self.url + path)

    def path(self):
        return self.driver.current_url.removeprefix(self.url)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition, seconds=15, message="condition"):
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = condition()
            # The page replaced an element between finding and asking it: ask again.
            except StaleElementReferenceException:
                value = None
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {seconds} s at {self.path()}: {message}"
            time.sleep(0.05)

    def find(self, selector, seconds=15):
        """The first element that a person could see."""
        return self.until(
            lambda: next((element for element in self.all(selector) if element.is_displayed()), None),
            seconds,
            f"{selector} to be visible",
        )

    def click(self, selector):
        self.find(selector).click()

    def fill(self, selector, text):
        field = self.find(selector)
        field.clear()
        field.send_keys(text)
        return field

    def register(self):
        email = f"{uuid.uuid4().hex}@browser.example"
        self.open("/register")
        self.fill("[name='name']", "Ada Browser")
        self.fill("[name='organization']", "Browser tests")
        self.fill("[name='email']", email)
        self.fill("[name='password']", PASSWORD).send_keys(Keys.ENTER)
        self.find(hook("composer"))
        # Whoever has chosen nothing asks a real model first; most tests want the one that makes its answers up.
        self.driver.execute_script(
            "const m = document.querySelector('#model'); m.value = 'maple-dev'; m.dispatchEvent(new Event('change'))"
        )
        return email

    def ask(self, text):
        self.fill(hook("composer"), text)
        self.click(hook("send"))

    def answers(self):
        return self.all(ANSWER)

    def last_answer(self):
        return self.until(self.answers, message="an answer")[-1]

    def answer_text(self):
        """What the last answer says so far; empty while there is none."""
        return self.driver.execute_script(
            "const all = document.querySelectorAll(arguments[0]); return all.length ? all[all.length - 1].innerText : ''",
            ANSWER,
        ).strip()

    def answer_status(self):
        return self.driver.execute_script(
            "const all = document.querySelectorAll(arguments[0]);"
            "return all.length ? all[all.length - 1].getAttribute('data-status') : null",
            ANSWER,
        )

    def wait_for_status(self, status, seconds=30):
        self.until(lambda: self.answer_status() == status, seconds, f"the answer's status to be {status}")

    def conversation_titles(self):
        return [element.get_attribute("textContent").strip() for element in self.all(hook("conversation"))]

    def confirm(self):
        """Answers the page's question with yes."""
        self.click("dialog[open] button[value='ok']")

    def device(self, command, **parameters):
        self.driver.execute_cdp_cmd(f"Emulation.{command}", parameters)

    def colour(self, selector, name):
        """A computed colour as its red, green and blue."""
        value = self.driver.execute_script(
            "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, name
        )
        return [float(number) for number in re.findall(r"[\d.]+", value)[:3]]


@pytest.fixture
def page(chromium, maple_url):
    chromium.delete_all_cookies()
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get_log("browser")
    yield Page(chromium, maple_url)
    log = chromium.get_log("browser")
    for command in ("clearDeviceMetricsOverride", "setEmulatedMedia"):
        chromium.execute_cdp_cmd(f"Emulation.{command}", {})
    violations = [entry["message"] for entry in log if "Content Security Policy" in entry["message"]]
    assert not violations
    # What the network answered is each test's own business; an error in a script never is.
    errors = [entry["message"] for entry in log if entry["source"] == "javascript" and entry["level"] == "SEVERE"]
    assert not errors


@pytest.fixture
def signed_in(page):
    page.register()
    return page


def test_a_stranger_is_sent_to_sign_in(page):
    page.open("/")
    assert page.path().startswith("/sign-in")
    page.find("[name='email']")


def test_the_policy_allows_no_inline_script(maple_url):
    policy = requests.get(f"{maple_url}/sign-in", timeout=10).headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src" in policy


def test_wrong_password_is_explained(page):
    page.open("/sign-in")
    page.fill("[name='email']", "nobody@browser.example")
    page.fill("[name='password']", PASSWORD).send_keys(Keys.ENTER)
    page.find("[role='alert']")
    assert page.path().startswith("/sign-in")


def test_sign_in_by_keyboard_alone(page):
    email = page.register()
    page.driver.delete_all_cookies()
    page.open("/sign-in")

    def press(*keys):
        webdriver.ActionChains(page.driver).send_keys(*keys).perform()

    def tab_to(name):
        for _ in range(15):
            if page.driver.switch_to.active_element.get_attribute("name") == name:
                return
            press(Keys.TAB)
        raise AssertionError(f"15 presses of Tab did not reach the field {name}")

    tab_to("email")
    press(email)
    tab_to("password")
    press(PASSWORD, Keys.ENTER)
    page.find(hook("composer"))
    # And on: the question too needs no pointer.
    for _ in range(40):
        if page.driver.switch_to.active_element.get_attribute("data-test") == "composer":
            break
        press(Keys.TAB)
    press(QUICK, Keys.ENTER)
    page.wait_for_status("complete")


def test_ask_watch_stop_and_find_it_again(signed_in):
    page = signed_in
    page.ask(SLOW)

    lengths = set()
    page.until(lambda: lengths.add(len(page.answer_text())) or len(lengths) >= 5, message="the answer to grow")
    assert page.answer_status() == "streaming"
    page.click(hook("stop"))
    page.wait_for_status("partial")
    stopped = page.answer_text()
    assert stopped
    # A stopped answer stays stopped.
    time.sleep(0.5)
    assert page.answer_text() == stopped

    page.driver.refresh()
    page.find(hook("conversation"))
    if not page.answers():
        page.click(hook("conversation"))
    page.until(page.answers, message="the conversation's messages after reloading")
    assert page.answer_status() == "partial"
    assert page.all(f"{MESSAGE}[data-role='user']")[0].text.startswith("Tell me slowly")
    first_words = stopped.split()[:5]
    assert page.answer_text().split()[: len(first_words)] == first_words


def test_regenerate_replaces_the_answer(signed_in):
    page = signed_in
    page.ask(QUICK)
    page.wait_for_status("complete")
    before = page.last_answer().get_attribute("data-id")
    page.click(hook("regenerate"))
    # In this order: the first answer is complete too, until the second takes its place.
    page.until(
        lambda: page.last_answer().get_attribute("data-id") != before and page.answer_status() == "complete",
        message="another answer in the first one's place",
    )
    assert len(page.answers()) == 1
    page.driver.refresh()
    page.until(page.answers, message="the conversation after reloading")
    assert len(page.answers()) == 1
    assert len(page.all(f"{MESSAGE}[data-role='user']")) == 1


def test_markdown_is_rendered_and_markup_is_harmless(signed_in):
    page = signed_in
    page.ask("<img src=x onerror=\"document.title='owned'\"> **bold** <script>document.title='owned'</script> " + QUICK)
    page.wait_for_status("complete")
    page.driver.refresh()
    page.until(page.answers, message="the conversation after reloading")
    assert page.driver.title != "owned"
    assert not page.all(f"{MESSAGE} img[onerror], {MESSAGE} script")


def test_a_failed_answer_says_so(signed_in):
    page = signed_in
    page.ask("Fail, please [[mock:status=500]]")
    page.wait_for_status("failed")
    # And the conversation goes on.
    page.ask(QUICK)
    page.wait_for_status("complete")


def test_conversations_are_listed_renamed_and_deleted(signed_in):
    page = signed_in
    page.ask(QUICK)
    page.wait_for_status("complete")
    page.click(hook("new-chat"))
    page.until(lambda: not page.all(MESSAGE), message="an empty conversation")
    page.ask("Another one, " + QUICK)
    page.wait_for_status("complete")
    page.until(lambda: len(page.all(hook("conversation"))) == 2, message="two conversations in the list")

    rename(page, "Maple syrup")
    page.until(lambda: "Maple syrup" in page.conversation_titles(), message="the new title in the list")
    page.driver.refresh()
    page.until(lambda: "Maple syrup" in page.conversation_titles(), message="the new title after reloading")

    delete(page)
    page.until(lambda: len(page.all(hook("conversation"))) == 1, message="one conversation in the list")
    page.driver.refresh()
    page.find(hook("conversation"))
    assert len(page.conversation_titles()) == 1
    assert "Maple syrup" not in page.conversation_titles()


def rename(page, title):
    page.click(hook("rename"))
    page.fill("dialog[open] input", title).send_keys(Keys.ENTER)


def delete(page):
    page.click(hook("delete"))
    page.confirm()


def test_the_model_can_be_chosen(signed_in):
    page = signed_in
    models = Select(page.find(hook("model")))
    values = [option.get_attribute("value") for option in models.options]
    assert "maple-dev" in values
    # Embedding models do not chat.
    assert "maple-dev-embed" not in values
    models.select_by_value("maple-dev")
    page.ask(QUICK)
    page.wait_for_status("complete")


def test_keys_are_made_shown_once_and_revoked(signed_in, eventually):
    page = signed_in
    page.open("/keys")
    page.fill("[name='name']", "A program")
    page.click(hook("key-create"))
    shown = page.find(hook("key-value"))
    key = (shown.get_attribute("value") or shown.text).strip()
    assert re.fullmatch(r"mk_\S{20,}", key)

    def models():
        return requests.get(
            f"{page.url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=10
        ).status_code

    assert models() == 200
    page.open("/keys")
    page.find(hook("key-revoke"))
    assert key not in page.driver.page_source

    page.click(hook("key-revoke"))
    page.confirm()
    page.until(lambda: not page.all(hook("key-revoke")), message="the key to leave the list")
    eventually(lambda: models() == 401, seconds=6, message="the revoked key is refused")


def test_another_persons_conversation_is_not_found(signed_in, register):
    other = register().call("POST", "/api/conversations", expect=201, json={"title": "Private"}).json()
    signed_in.open(f"/c/{other['id']}")
    assert "Private" not in signed_in.driver.page_source
    assert not signed_in.all(MESSAGE)


def test_signing_out_ends_the_session(signed_in):
    page = signed_in
    page.find("form[action='/sign-out'] button, form[action='/sign-out'] [type='submit']").click()
    page.find("[name='password']")
    page.open("/")
    assert page.path().startswith("/sign-in")


def wider_than_the_screen(page):
    """What would make a person scroll sideways. Code and tables may, within their own frames."""
    assert page.driver.execute_script("return document.documentElement.clientWidth") == PHONE["width"]
    return page.driver.execute_script(
        """
        return [document.documentElement, document.body, ...document.querySelectorAll("main, main *")]
          .filter((element) => !element.closest("pre, code, table, .scroll, .hidden, textarea, input"))
          .filter((element) => element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1)
          .filter((element) => element === document.documentElement ||
            ["auto", "scroll"].includes(getComputedStyle(element).overflowX))
          .map((element) => `${element.tagName}.${element.className}: ${element.scrollWidth} > ${element.clientWidth}`);
        """
    )


@pytest.mark.parametrize("path", ["/", "/keys", "/settings", "/audit"])
def test_a_phone_needs_no_sideways_scrolling(signed_in, path):
    page = signed_in
    page.device("setDeviceMetricsOverride", **PHONE)
    page.open(path)
    if path == "/":
        page.ask("A very long word: " + "maple" * 60 + " " + QUICK)
        page.wait_for_status("complete")
        page.find(hook("composer"))
    assert not wider_than_the_screen(page)


@pytest.mark.parametrize("path", ["/sign-in", "/register"])
def test_a_strangers_phone_needs_no_sideways_scrolling(page, path):
    page.device("setDeviceMetricsOverride", **PHONE)
    page.open(path)
    page.find("[name='email']")
    assert not wider_than_the_screen(page)


def luminance(colour):
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_light_and_dark_follow_the_system_and_are_readable(signed_in):
    page = signed_in
    backgrounds = {}
    for scheme in ("light", "dark"):
        page.device("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.open("/")
        page.find(hook("composer"))
        background = luminance(page.colour("body", "backgroundColor"))
        text = luminance(page.colour("body", "color"))
        contrast = (max(background, text) + 0.05) / (min(background, text) + 0.05)
        assert contrast >= 4.5, f"{scheme}: text has a contrast of {contrast:.1f}"
        backgrounds[scheme] = background
    assert backgrounds["light"] > 0.5 > backgrounds["dark"]


@pytest.mark.parametrize("path", ["/sign-in", "/register", "/", "/keys", "/settings", "/audit"])
def test_a_screen_reader_finds_names_and_landmarks(page, path):
    if path not in ("/sign-in", "/register"):
        page.register()
    page.open(path)
    page.find("main")
    assert page.driver.execute_script("return document.documentElement.lang")
    assert page.driver.title.strip()
    unnamed = page.driver.execute_script(
        """
        const shown = (element) => element.getClientRects().length > 0 && element.type !== "hidden";
        const named = (element) =>
          (element.getAttribute("aria-label") || element.title || "").trim() ||
          (element.getAttribute("aria-labelledby") && document.getElementById(element.getAttribute("aria-labelledby"))) ||
          [...(element.labels || [])].some((label) => label.textContent.trim()) ||
          (["A", "BUTTON"].includes(element.tagName) && element.textContent.trim());
        return [...document.querySelectorAll("a[href], button, input, select, textarea")]
          .filter((element) => shown(element) && !named(element))
          .map((element) => element.outerHTML.slice(0, 120));
        """
    )
    assert not unnamed
