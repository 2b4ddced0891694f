"""The small model with its real weights, as people meet it: through MapleAI, by the page and by OpenAI's package."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import requests

from test_browser import chromium, hook, page
from test_page import ask

__all__ = ["chromium", "page"]

MODEL = "smollm2-135m"
FRANCE = "What is the capital of France?"
# Hundreds of tokens, whatever is drawn.
LONG = "Write a very long story about a sailor and the sea, with many chapters."


def state():
    return json.loads(Path(os.environ["LOCAL_STATE"]).read_text(encoding="utf-8"))


def health():
    """What the model's own server is doing."""
    told = state()
    root = told["url"].removesuffix("/v1")
    return requests.get(f"{root}/health", headers={"Authorization": f"Bearer {told['key']}"}, timeout=5).json()


def engine():
    """The process that computes: of all on this machine, the one with the key that the state file tells."""
    key = state().get("key")
    for entry in Path("/proc").iterdir() if key else ():
        try:
            arguments, variables = ((entry / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if arguments[1:2] == [b"serve"] and f"LOCAL_MODEL_KEY={key}".encode() in variables:
            return int(entry.name)
    return None


@pytest.fixture(scope="module")
def client(maple_url, account):
    with openai.OpenAI(base_url=f"{maple_url}/v1", api_key=account.new_key()["key"], max_retries=0, timeout=110) as client:
        yield client


@pytest.fixture(autouse=True)
def ready(eventually):
    eventually(lambda: state()["state"] == "ready", seconds=60, message="the model to be ready")


@pytest.fixture
def newcomer(page):
    """Somebody who has just registered, and has chosen no model."""
    page.register()
    page.driver.execute_script("localStorage.clear()")
    page.driver.refresh()
    page.find(hook("composer"))
    return page


def france(client, **more):
    messages = [{"role": "user", "content": FRANCE}]
    return client.chat.completions.create(model=MODEL, messages=messages, temperature=0, **more)


def test_the_first_question_gets_a_real_answer(newcomer):
    page = newcomer
    assert page.driver.execute_script("return document.querySelector('#model').selectedOptions[0].text") == (
        "SmolLM2 135M (on this machine)"
    ), "it is the model that a newcomer has"
    ask(page, FRANCE)
    page.wait_for_status("complete", seconds=60)
    assert "Paris" in page.answer_text()
    page.until(lambda: "tokens/s" in page.find(hook("took")).text, message="how fast it came")
    if where := os.environ.get("SCREENSHOTS"):
        page.driver.save_screenshot(f"{where}/first-answer.png")


def test_the_usage_of_a_stream_is_the_tokenizers_count(client):
    text, usage = "", None
    for chunk in france(client, stream=True, stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert text == "The capital of France is Paris."
    # "The", " capital", " of", " France", " is", " Paris", "."; and the 37 tokens of the frame, as llama.cpp counts them.
    assert (usage.completion_tokens, usage.prompt_tokens, usage.total_tokens) == (7, 37, 44)


def test_the_same_seed_gives_the_same_story(client):
    def story(seed):
        messages = [{"role": "user", "content": "Tell me a story"}]
        answer = client.chat.completions.create(
            model=MODEL, messages=messages, temperature=0.9, seed=seed, max_tokens=24, extra_headers={"Cache-Control": "no-store"}
        )
        return answer.choices[0].message.content

    assert story(7) == story(7)
    assert story(7) != story(8)


def test_a_conversation_beyond_the_context_is_refused_with_both_numbers(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "one " * 5000}])
    assert refused.value.code == "context_length_exceeded"
    assert "4096" in str(refused.value) and "5031" in str(refused.value)


def test_what_the_model_cannot_do_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError, match="tools"):
        france(client, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])


def test_a_caller_who_leaves_frees_the_engine_while_the_prompt_is_read(client, eventually):
    for _ in range(3):
        hasty = client.with_options(timeout=0.7)
        with pytest.raises(openai.APITimeoutError):
            hasty.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": f"{time.monotonic()} " + "word " * 3000}], max_tokens=5
            )
        eventually(lambda: health()["active"] == 0, seconds=3, message="an idle engine")
    assert "Paris" in france(client).choices[0].message.content


def test_stop_on_the_page_frees_the_engine(newcomer, eventually):
    page = newcomer
    ask(page, LONG)
    page.until(lambda: len(page.answer_text()) > 120, seconds=60, message="the answer to begin")
    page.click(hook("stop"))
    page.wait_for_status("partial")
    eventually(lambda: health()["active"] == 0, seconds=3, message="an idle engine")


def test_callers_take_turns(client):
    """A short question beside a long answer does not wait for its end."""
    with ThreadPoolExecutor() as pool:
        long = pool.submit(
            client.chat.completions.create,
            model=MODEL,
            messages=[{"role": "user", "content": LONG}],
            temperature=0,
            max_tokens=300,
            stream=True,
        )
        stream = long.result()
        first = next(iter(stream))
        assert first
        messages = [{"role": "user", "content": f"Say yes. {time.monotonic()}"}]
        client.chat.completions.create(model=MODEL, messages=messages, max_tokens=2)
        assert health()["active"] == 1, "the long one goes on"
        stream.close()


def test_a_model_that_dies_fails_one_answer_and_comes_back(newcomer, eventually):
    page = newcomer
    died = engine()
    ask(page, LONG)
    page.until(lambda: len(page.answer_text()) > 120, seconds=60, message="the answer to begin")
    os.kill(died, signal.SIGKILL)
    page.until(lambda: page.answer_status() in ("failed", "partial"), message="the answer to end with its model")
    eventually(lambda: engine() not in (None, died), seconds=30, message="another process")
    ask(page, FRANCE)
    page.wait_for_status("complete", seconds=60)
    assert "Paris" in page.answer_text()
