"""Forms and dialogs: what is too long, what is refused, what needs the password again; and what a page says when it cannot be told
everything. In real Chromium."""

import contextlib
import os
import pathlib
import subprocess
import uuid

import pytest
from selenium.webdriver.common.keys import Keys

from conftest import PASSWORD
from test_browser import chromium, hook, page, signed_in
from test_page import ask, focused, press, teller
from test_page_access import axe, everywhere

__all__ = ["axe", "chromium", "page", "signed_in", "teller"]


def paste(page, text):
    """Puts a text into the focused field in the place of what is there, as the clipboard does: what a field refuses is not put in."""
    page.driver.execute_script("document.activeElement.select()")
    page.driver.execute_cdp_cmd("Input.insertText", {"text": text})


def sql(text):
    """Behind the back of the server."""
    command = [os.environ["SERVER_PSQL"], "-XAqtd", os.environ["SERVER_DATABASE_URL"], "-v", "ON_ERROR_STOP=1", "-c", text]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def an_hour_later(page):
    """As if everybody had signed in an hour ago, and the server had found out."""
    sql("UPDATE sessions SET created_at = created_at - interval '1 hour', confirmed_at = confirmed_at - interval '1 hour'")
    status = (
        "const [id, done] = arguments, token = document.querySelector('meta[name=csrf-token]').content;"
        "fetch(`/api/sessions/${id}`, { method: 'DELETE', headers: { 'X-CSRF-Token': token } })"
        ".then((response) => done(response.status), done)"
    )
    page.until(
        lambda: page.driver.execute_async_script(status, str(uuid.uuid4())) == 403,
        message="the password to be asked for again",
    )


def test_a_name_too_long_is_refused_whole(teller):
    ask(teller, "Hello")
    teller.wait_for_status("complete")
    teller.click(hook("rename"))
    field = teller.find("#dialog-input")
    assert field.get_attribute("maxlength") is None
    long = "A title that was pasted 😀 " * 20
    paste(teller, long)
    fault, ok = teller.find("#dialog-fault"), teller.find("#dialog-ok")
    # Counted as the server counts: by sign, without the white space around.
    assert teller.find(hook("dialog-count")).text == f"{len(long.strip())} of 200 characters"
    assert "200 characters" in fault.text
    assert (field.get_attribute("aria-invalid"), ok.get_attribute("aria-disabled")) == ("true", "true")
    assert {"dialog-fault", "dialog-count"} <= set(field.get_attribute("aria-describedby").split())
    press(teller, Keys.ENTER)
    ok.click()
    assert field.get_attribute("value") == long, "nothing is cut, sent or lost"
    assert (focused(teller), teller.conversation_titles()) == ("dialog-input", ["Hello"])
    fits = "😀" * 200
    paste(teller, fits)
    assert not fault.is_displayed()
    assert (field.get_attribute("aria-invalid"), ok.get_attribute("aria-disabled")) == (None, None)
    press(teller, Keys.ENTER)
    teller.until(lambda: teller.conversation_titles() == [fits], message="the title that just fits")


def test_a_keys_name_too_long_is_refused_beside_it(signed_in):
    page = signed_in
    page.open("/keys")
    long = "A program with a long name " * 5
    page.find("#key-name")
    page.driver.execute_script("document.querySelector('#key-name').value = arguments[0]", long)
    page.click(hook("key-create"))
    assert "at most 100 characters" in page.find("#key-fault").text
    field = page.find("#key-name")
    assert (field.get_attribute("value"), field.get_attribute("aria-invalid")) == (long, "true")
    assert (field.get_attribute("aria-describedby"), focused(page)) == ("key-fault", "key-name")
    page.fill("#key-name", "A program").send_keys(Keys.ENTER)
    page.find(hook("key-value"))
    assert field.get_attribute("aria-invalid") is None


def test_a_key_that_was_revoked_is_not_offered_for_copying(signed_in):
    page = signed_in
    page.open("/keys")
    for name in ("One", "Another"):
        page.fill("#key-name", name).send_keys(Keys.ENTER)
        page.until(lambda name=name: name in page.find("#keys tbody tr").text, message="the key's row")
    page.all(hook("key-revoke"))[1].click()
    page.confirm()
    page.until(lambda: len(page.all(hook("key-revoke"))) == 1, message="the first to go")
    assert page.find(hook("key-value")).text.startswith("mk_")
    page.click(hook("key-revoke"))
    page.confirm()
    page.until(lambda: not page.all(hook("key-revoke")), message="the other to go")
    assert not page.driver.find_element("id", "key-created").is_displayed()


def test_nothing_cuts_what_is_typed(signed_in):
    page = signed_in
    for path in ("/", "/keys", "/settings", "/register", "/sign-in"):
        page.open(path)
        assert not page.all("[maxlength]"), path


def test_the_password_is_asked_for_in_a_dialog(signed_in, axe):
    page = signed_in
    page.open("/keys")
    an_hour_later(page)
    page.fill("#key-name", "A program").send_keys(Keys.ENTER)
    assert page.find("#dialog-input").get_attribute("type") == "password"
    everywhere(page, axe, "the password's dialog")
    press(page, "wrong", Keys.ENTER)
    assert "password is wrong" in page.find("#dialog-fault").text
    field = page.find("#dialog-input")
    assert (focused(page), field.get_attribute("value"), field.get_attribute("aria-invalid")) == ("dialog-input", "", "true")
    everywhere(page, axe, "a wrong password in the dialog")
    # Given up: nothing is lost, and the focus is where it was.
    press(page, Keys.ESCAPE)
    assert "Nothing was changed" in page.find("#key-fault").text
    assert (focused(page), page.find("#key-name").get_attribute("value")) == ("key-name", "A program")
    press(page, Keys.ENTER)
    page.find("#dialog-input")
    press(page, "wrong", Keys.ENTER)
    page.find("#dialog-fault")
    press(page, PASSWORD, Keys.ENTER)
    page.find(hook("key-value"))
    assert focused(page) == "key-value"


def test_the_password_is_asked_for_on_a_page(signed_in, axe):
    page = signed_in
    page.open("/settings")
    an_hour_later(page)
    page.click("form[action='/settings/cache/sharing'] button")
    assert "Share answers within the organisation" in page.find("main").text
    assert focused(page) == "confirm-password"
    everywhere(page, axe, "asking for the password")
    press(page, "wrong", Keys.ENTER)
    assert "password is wrong" in page.find("#confirm-password-fault").text
    assert focused(page) == "confirm-password"
    everywhere(page, axe, "a wrong password on the page")
    press(page, PASSWORD, Keys.ENTER)
    assert "Answers are shared" in page.find("[role='status'].notice").text


def test_a_refused_password_is_explained_beside_it(signed_in, axe):
    page = signed_in
    page.open("/settings")
    page.fill("#current_password", PASSWORD)
    page.click("[name='revoke_keys']")
    page.fill("#password", "Password12345!").send_keys(Keys.ENTER)
    assert "guessed first" in page.find("#password-fault").text
    assert focused(page) == "password"
    assert page.find("[name='revoke_keys']").is_selected()
    assert page.find("#password").get_attribute("value") == ""
    everywhere(page, axe, "a refused password")


@contextlib.contextmanager
def locked(table):
    """Nobody reads the table meanwhile."""
    command = [os.environ["SERVER_PSQL"], "-XAqtd", os.environ["SERVER_DATABASE_URL"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as psql:
        psql.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
        psql.stdin.flush()
        assert psql.stdout.readline().strip() == "locked"
        yield
        psql.stdin.close()


def test_usage_that_cannot_be_shown_is_said_here_and_in_the_log(signed_in):
    page = signed_in
    log = pathlib.Path(os.environ["SERVER_LOG"])
    before = log.stat().st_size
    with locked("usage_daily"):
        page.open("/settings")
        assert "cannot be shown" in page.find("section[aria-labelledby='usage'] .alert").text
        assert page.find("#current_password"), "the rest of the page is there"
        page.until(
            lambda: "usage cannot be shown" in log.read_bytes()[before:].decode(errors="replace"), message="a line in the log"
        )
    page.until(lambda: page.open("/settings") or page.all(".figures"), message="usage")
