"""The official OpenAI package for Python, used as its documentation shows, against a started MapleAI."""

import asyncio
import json
import math

import openai
import pytest
import requests

CHAT = "maple-dev"
EMBEDDING = "maple-dev-embed"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def key(account):
    return account.new_key()


@pytest.fixture(scope="module")
def client(maple_url, key):
    # Retries would hide errors and, for the failing cases, only repeat them.
    with openai.OpenAI(base_url=f"{maple_url}/v1", api_key=key["key"], max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def newcomer(register):
    """An account that has not used anything yet, and its client: for counting usage."""
    account = register()
    with openai.OpenAI(
        base_url=f"{account.url}/v1", api_key=account.new_key()["key"], max_retries=0, timeout=30
    ) as client:
        yield account, client


def ask(text):
    return [{"role": "user", "content": text}]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def totals(account):
    return account.call("GET", "/api/usage", expect=200).json()["totals"]


class TestChat:
    def test_answers(self, client):
        answer = client.chat.completions.create(model=CHAT, messages=ask("Hello"))
        assert answer.object == "chat.completion"
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.prompt_tokens > 0
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    def test_carries_a_request_id(self, client):
        assert client.chat.completions.create(model=CHAT, messages=ask("Hello"))._request_id

    def test_takes_an_access_token_as_well_as_a_key(self, maple_url, account):
        with openai.OpenAI(base_url=f"{maple_url}/v1", api_key=account.access_token, max_retries=0) as client:
            assert client.chat.completions.create(model=CHAT, messages=ask("Hello")).choices[0].message.content

    def test_takes_parameters_it_does_not_know(self, client):
        answer = client.chat.completions.create(
            model=CHAT,
            messages=ask("Hello"),
            seed=7,
            logprobs=True,
            response_format={"type": "json_object"},
            extra_body={"a_parameter_of_next_year": {"deep": [1, 2, 3]}},
        )
        assert answer.choices[0].message.content

    def test_leaves_a_usage_record(self, newcomer, eventually):
        account, client = newcomer
        answer = client.chat.completions.create(model=CHAT, messages=ask("Hello"))
        eventually(lambda: totals(account)["requests"] == 1, message="the request in the usage report")
        assert totals(account)["input_tokens"] == answer.usage.prompt_tokens
        assert totals(account)["output_tokens"] == answer.usage.completion_tokens


class TestStreaming:
    def test_arrives_in_parts(self, client):
        with client.chat.completions.create(model=CHAT, messages=ask("[[mock:tokens=12]]"), stream=True) as stream:
            chunks = list(stream)
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 3
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_keeps_usage_to_itself_unless_asked(self, client):
        with client.chat.completions.create(model=CHAT, messages=ask("Hello"), stream=True) as stream:
            chunks = list(stream)
        assert all(chunk.choices for chunk in chunks)
        assert all(chunk.usage is None for chunk in chunks)

    def test_include_usage_ends_with_the_usage(self, client):
        with client.chat.completions.create(
            model=CHAT, messages=ask("Hello"), stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens > 0
        assert all(chunk.usage is None for chunk in chunks[:-1])

    def test_says_the_same_as_the_whole_answer(self, client):
        whole = client.chat.completions.create(model=CHAT, messages=ask("The same, please"))
        with client.chat.completions.create(model=CHAT, messages=ask("The same, please"), stream=True) as stream:
            assert text_of(stream) == whole.choices[0].message.content

    def test_stream_helper_gathers_the_answer(self, client):
        with client.chat.completions.stream(model=CHAT, messages=ask("Hello")) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        assert "".join(deltas) == final.choices[0].message.content

    def test_a_reader_who_leaves_is_accounted_for(self, newcomer, eventually):
        account, client = newcomer
        slow = ask("[[mock:tokens=200]] [[mock:delay=50ms]]")
        with client.chat.completions.create(model=CHAT, messages=slow, stream=True) as stream:
            for _, _chunk in zip(range(3), stream):
                pass
        # Far earlier than the ten seconds that the whole answer would take.
        eventually(lambda: totals(account)["requests"] == 1, seconds=6, message="the unfinished call's record")
        assert 0 < totals(account)["output_tokens"] < 200
        assert client.chat.completions.create(model=CHAT, messages=ask("Still there?")).choices[0].message.content

    def test_a_broken_off_answer_does_not_look_whole(self, client):
        received = []
        with pytest.raises((openai.APIError, openai.APIConnectionError, *transport_errors())):
            with client.chat.completions.create(
                model=CHAT, messages=ask("[[mock:break_after=5]]"), stream=True
            ) as stream:
                for chunk in stream:
                    received.append(chunk)
        assert text_of(received)
        assert not any(chunk.choices and chunk.choices[0].finish_reason for chunk in received)


def transport_errors():
    """What the SDK lets through when the connection ends in the middle of a body."""
    import httpx2

    return (httpx2.TransportError,)


class TestTools:
    def test_calls_a_tool_and_uses_its_result(self, client):
        messages = ask("What is the weather in Hamburg?")
        first = client.chat.completions.create(model=CHAT, messages=messages, tools=[WEATHER])
        assert first.choices[0].finish_reason == "tool_calls"
        call = first.choices[0].message.tool_calls[0]
        assert call.function.name == "get_weather"
        assert isinstance(json.loads(call.function.arguments), dict)

        messages += [
            first.choices[0].message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "grey"}'},
        ]
        second = client.chat.completions.create(model=CHAT, messages=messages, tools=[WEATHER])
        assert second.choices[0].finish_reason == "stop"
        assert second.choices[0].message.content

    def test_streams_a_tool_call(self, client):
        with client.chat.completions.create(
            model=CHAT, messages=ask("What is the weather?"), tools=[WEATHER], stream=True
        ) as stream:
            chunks = list(stream)
        calls = [
            call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []
        ]
        assert calls[0].function.name == "get_weather"
        json.loads("".join(call.function.arguments or "" for call in calls))
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


class TestEmbeddings:
    def test_base64_and_float_agree(self, client):
        # The SDK asks for base64 unless told otherwise, and decodes it itself.
        packed = client.embeddings.create(model=EMBEDDING, input="maple")
        plain = client.embeddings.create(model=EMBEDDING, input="maple", encoding_format="float")
        assert packed.data[0].embedding
        assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, rel=1e-5, abs=1e-7)
        assert packed.usage.prompt_tokens > 0

    def test_a_batch_keeps_its_order(self, client):
        batch = client.embeddings.create(model=EMBEDDING, input=["oak", "maple"], encoding_format="float")
        single = client.embeddings.create(model=EMBEDDING, input="maple", encoding_format="float")
        assert [item.index for item in batch.data] == [0, 1]
        assert batch.data[1].embedding == pytest.approx(single.data[0].embedding, rel=1e-5, abs=1e-7)
        assert math.dist(batch.data[0].embedding, batch.data[1].embedding) > 0


class TestModels:
    def test_lists_the_models(self, client):
        assert {CHAT, EMBEDDING} <= {model.id for model in client.models.list()}

    def test_gets_one(self, client):
        model = client.models.retrieve(CHAT)
        assert (model.id, model.object) == (CHAT, "model")

    def test_does_not_know_others(self, client):
        with pytest.raises(openai.NotFoundError) as error:
            client.models.retrieve("no-such-model")
        assert error.value.code == "model_not_found"


class TestErrors:
    def test_bad_key(self, client):
        with pytest.raises(openai.AuthenticationError) as error:
            client.with_options(api_key="mk_this-is-not-a-key").chat.completions.create(model=CHAT, messages=ask("Hi"))
        assert error.value.code == "invalid_api_key"
        assert error.value.request_id

    def test_revoked_key(self, account, client, eventually):
        key = account.new_key("to be revoked")
        other = client.with_options(api_key=key["key"])
        assert other.models.list().data
        account.call("DELETE", f"/api/keys/{key['id']}", expect=204)

        def refused():
            try:
                other.models.list()
            except openai.AuthenticationError:
                return True

        eventually(refused, seconds=6, message="the revoked key is refused")

    def test_unknown_model(self, client):
        with pytest.raises(openai.NotFoundError) as error:
            client.chat.completions.create(model="no-such-model", messages=ask("Hello"))
        assert error.value.code == "model_not_found"
        assert error.value.type == "invalid_request_error"

    def test_unknown_model_for_embeddings(self, client):
        with pytest.raises(openai.NotFoundError) as error:
            client.embeddings.create(model="no-such-model", input="maple")
        assert error.value.code == "model_not_found"

    @pytest.mark.parametrize("body", ["{", "[]", '{"model": 5}', '{"messages": []}', '""', ""])
    def test_bad_body(self, maple_url, key, body):
        answer = requests.post(
            f"{maple_url}/v1/chat/completions",
            data=body,
            headers={"Authorization": f"Bearer {key['key']}", "Content-Type": "application/json"},
            timeout=10,
        )
        assert answer.status_code == 400
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.json()["error"]["type"] == "invalid_request_error"

    def test_a_wrong_type_is_a_bad_request(self, client):
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(model=CHAT, messages=ask("Hello"), stream="perhaps")
        assert "stream" in str(error.value)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_upstream_failure(self, client, status, expected, stream):
        with pytest.raises(expected) as error:
            client.chat.completions.create(model=CHAT, messages=ask(f"[[mock:status={status}]]"), stream=stream)
        assert error.value.body["message"]

    def test_client_timeout_leaves_the_service_well(self, client):
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=1).chat.completions.create(model=CHAT, messages=ask("[[mock:stall]]"))
        assert client.chat.completions.create(model=CHAT, messages=ask("Hello")).choices[0].message.content


class TestAsync:
    def test_many_at_once(self, maple_url, key):
        async def run():
            async with openai.AsyncOpenAI(base_url=f"{maple_url}/v1", api_key=key["key"], max_retries=0) as client:

                async def streamed(number):
                    stream = await client.chat.completions.create(
                        model=CHAT, messages=ask(f"Number {number}"), stream=True
                    )
                    async with stream:
                        return text_of([chunk async for chunk in stream])

                async def whole(number):
                    answer = await client.chat.completions.create(model=CHAT, messages=ask(f"Number {number}"))
                    return answer.choices[0].message.content

                return await asyncio.gather(
                    *(streamed(number) for number in range(10)), *(whole(number) for number in range(10))
                )

        answers = asyncio.run(run())
        assert all(answers)
        # Each got the answer to its own question, however they were interleaved.
        assert answers[:10] == answers[10:]

    def test_errors_have_their_classes(self, maple_url, key):
        async def run():
            async with openai.AsyncOpenAI(base_url=f"{maple_url}/v1", api_key=key["key"], max_retries=0) as client:
                await client.chat.completions.create(model="no-such-model", messages=ask("Hello"))

        with pytest.raises(openai.NotFoundError):
            asyncio.run(run())
