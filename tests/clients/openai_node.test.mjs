// The official `openai` package for JavaScript, used as its documentation shows, against a started MapleAI.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import OpenAI from "openai";

const url = process.env.MAPLE_URL;
assert.ok(url, "MAPLE_URL is not set: this is run by scripts/test/clients.sh, which starts a server");

const CHAT = "maple-dev";
const EMBEDDING = "maple-dev-embed";
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather at a place",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

let api;
let client;

async function call(accessToken, method, path, body) {
  const answer = await fetch(url + path, {
    method,
    headers: {
      "content-type": "application/json",
      ...(accessToken ? { authorization: `Bearer ${accessToken}` } : {}),
    },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(15_000),
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

const ask = (content) => [{ role: "user", content }];

async function eventually(condition, seconds, message) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not within ${seconds} s: ${message}`);
    await sleep(100);
  }
}

async function gather(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");

/** Makes an account; gives its client and a function that calls the API as this person. */
async function register() {
  const account = await call(null, "POST", "/api/auth/register", {
    email: `${randomUUID()}@node.example`,
    password: "correct horse battery maple",
    name: "Noda Client",
    organization: "Node tests",
  });
  const api = call.bind(null, account.access_token);
  const { key } = await api("POST", "/api/keys", { name: "node tests" });
  // Retries would hide errors and, for the failing cases, only repeat them.
  return { api, client: new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 }) };
}

before(async () => {
  ({ api, client } = await register());
});

describe("chat", () => {
  it("answers", async () => {
    const { data, request_id } = await client.chat.completions.create({ model: CHAT, messages: ask("Hello") }).withResponse();
    assert.equal(data.object, "chat.completion");
    assert.equal(data.choices[0].message.role, "assistant");
    assert.ok(data.choices[0].message.content);
    assert.equal(data.choices[0].finish_reason, "stop");
    assert.ok(data.usage.prompt_tokens > 0);
    assert.ok(request_id);
  });

  it("takes parameters it does not know", async () => {
    const answer = await client.chat.completions.create({
      model: CHAT,
      messages: ask("Hello"),
      seed: 7,
      response_format: { type: "json_object" },
      a_parameter_of_next_year: { deep: [1, 2, 3] },
    });
    assert.ok(answer.choices[0].message.content);
  });
});

describe("streaming", () => {
  it("arrives in parts, without usage unless asked", async () => {
    const chunks = await gather(
      await client.chat.completions.create({ model: CHAT, messages: ask("[[mock:tokens=12]]"), stream: true }),
    );
    assert.ok(chunks.filter((chunk) => chunk.choices[0]?.delta?.content).length > 3);
    assert.ok(chunks.every((chunk) => chunk.choices.length > 0 && !chunk.usage));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  });

  it("ends with the usage when asked", async () => {
    const chunks = await gather(
      await client.chat.completions.create({
        model: CHAT,
        messages: ask("Hello"),
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  });

  it("says the same as the whole answer", async () => {
    const messages = ask("The same, please");
    const whole = await client.chat.completions.create({ model: CHAT, messages });
    const chunks = await gather(await client.chat.completions.create({ model: CHAT, messages, stream: true }));
    assert.equal(textOf(chunks), whole.choices[0].message.content);
  });

  it("works with the stream helper", async () => {
    const stream = client.chat.completions.stream({ model: CHAT, messages: ask("Hello") });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    assert.ok(text);
    assert.equal(text, final.choices[0].message.content);
  });

  it("accounts for a reader who leaves", async () => {
    // An account that has not used anything yet, so that no earlier record can be taken for this one.
    const newcomer = await register();
    const stream = await newcomer.client.chat.completions.create({
      model: CHAT,
      messages: ask("[[mock:tokens=200]] [[mock:delay=50ms]]"),
      stream: true,
    });
    let seen = 0;
    for await (const _chunk of stream) {
      if (++seen === 3) break;
    }
    stream.controller.abort();
    const requests = async () => (await newcomer.api("GET", "/api/usage")).totals.requests;
    await eventually(async () => (await requests()) === 1, 6, "the unfinished call's record");
  });

  it("does not let a broken-off answer look whole", async () => {
    const received = [];
    await assert.rejects(async () => {
      const stream = await client.chat.completions.create({
        model: CHAT,
        messages: ask("[[mock:break_after=5]]"),
        stream: true,
      });
      for await (const chunk of stream) received.push(chunk);
    });
    assert.ok(textOf(received));
    assert.ok(!received.some((chunk) => chunk.choices[0]?.finish_reason));
  });
});

describe("tools", () => {
  it("calls a tool and uses its result", async () => {
    const messages = ask("What is the weather in Hamburg?");
    const first = await client.chat.completions.create({ model: CHAT, messages, tools: [WEATHER] });
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    const [call] = first.choices[0].message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    JSON.parse(call.function.arguments);

    messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: '{"sky":"grey"}' });
    const second = await client.chat.completions.create({ model: CHAT, messages, tools: [WEATHER] });
    assert.equal(second.choices[0].finish_reason, "stop");
    assert.ok(second.choices[0].message.content);
  });

  it("streams a tool call", async () => {
    const chunks = await gather(
      await client.chat.completions.create({
        model: CHAT,
        messages: ask("What is the weather?"),
        tools: [WEATHER],
        stream: true,
      }),
    );
    const calls = chunks.flatMap((chunk) => chunk.choices[0]?.delta?.tool_calls ?? []);
    assert.equal(calls[0].function.name, "get_weather");
    JSON.parse(calls.map((call) => call.function.arguments ?? "").join(""));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
  });
});

describe("embeddings", () => {
  it("base64, which the SDK decodes, and float agree", async () => {
    const packed = await client.embeddings.create({ model: EMBEDDING, input: "maple" });
    const plain = await client.embeddings.create({ model: EMBEDDING, input: "maple", encoding_format: "float" });
    const [a, b] = [packed.data[0].embedding, plain.data[0].embedding];
    assert.ok(a.length > 0);
    assert.equal(a.length, b.length);
    a.forEach((value, index) => assert.ok(Math.abs(value - b[index]) < 1e-5));
  });

  it("keeps the order of a batch", async () => {
    const batch = await client.embeddings.create({ model: EMBEDDING, input: ["oak", "maple"] });
    assert.deepEqual(batch.data.map((item) => item.index), [0, 1]);
    assert.notDeepEqual(batch.data[0].embedding, batch.data[1].embedding);
  });
});

describe("models", () => {
  it("lists them", async () => {
    const ids = (await gather(await client.models.list())).map((model) => model.id);
    assert.ok(ids.includes(CHAT) && ids.includes(EMBEDDING), ids.join());
  });

  it("gets one, and no other", async () => {
    assert.equal((await client.models.retrieve(CHAT)).id, CHAT);
    await assert.rejects(client.models.retrieve("no-such-model"), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "model_not_found");
      return true;
    });
  });
});

describe("errors", () => {
  const complete = (options, content = "Hello", model = CHAT, more = {}) =>
    client.withOptions(options).chat.completions.create({ model, messages: ask(content), ...more });

  it("a bad key is an AuthenticationError", async () => {
    await assert.rejects(complete({ apiKey: "mk_this-is-not-a-key" }), (error) => {
      assert.ok(error instanceof OpenAI.AuthenticationError);
      assert.equal(error.code, "invalid_api_key");
      assert.ok(error.requestID);
      return true;
    });
  });

  it("an unknown model is a NotFoundError", async () => {
    await assert.rejects(complete({}, "Hello", "no-such-model"), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "model_not_found");
      return true;
    });
  });

  it("a wrong type is a BadRequestError", async () => {
    await assert.rejects(complete({}, "Hello", CHAT, { stream: "perhaps" }), OpenAI.BadRequestError);
  });

  for (const [status, expected] of [
    [400, OpenAI.BadRequestError],
    [429, OpenAI.RateLimitError],
    [500, OpenAI.InternalServerError],
  ]) {
    it(`an upstream's ${status} is a ${expected.name}`, async () => {
      await assert.rejects(complete({}, `[[mock:status=${status}]]`), expected);
    });
  }

  it("a client's timeout leaves the service well", async () => {
    await assert.rejects(complete({ timeout: 1000 }, "[[mock:stall]]"), OpenAI.APIConnectionTimeoutError);
    assert.ok((await complete({})).choices[0].message.content);
  });

  it("a revoked key is refused", async () => {
    const revoked = await api("POST", "/api/keys", { name: "to be revoked" });
    const other = client.withOptions({ apiKey: revoked.key });
    assert.ok((await other.models.list()).data.length > 0);
    await api("DELETE", `/api/keys/${revoked.id}`);
    await eventually(
      () => other.models.list().then(() => false, (error) => error instanceof OpenAI.AuthenticationError),
      6,
      "the revoked key is refused",
    );
  });
});
