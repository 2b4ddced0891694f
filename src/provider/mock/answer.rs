//! What the development model says, in OpenAI's wire form.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Refusal, hash};

/// As many choices as a request may ask for.
const MOST_CHOICES: u64 = 8;

/// What an event carries; text is what takes a model's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    Frame,
}

enum Content {
    Text,
    /// Name of the function; the parts are its arguments.
    ToolCall(String),
}

/// A prepared answer, cut into the pieces that a stream sends.
pub(super) struct Answer {
    pub(super) question: String,
    pub(super) parts: Vec<String>,
    id: String,
    model: Value,
    content: Content,
    finish_reason: &'static str,
    /// The same answer this many times: a deterministic model has no other.
    choices: u64,
    most_tokens: Option<usize>,
    prompt_tokens: usize,
    include_usage: bool,
}

impl Answer {
    pub(super) fn of(body: &Value) -> Result<Self, Refusal> {
        let messages = body["messages"]
            .as_array()
            .filter(|messages| !messages.is_empty())
            .ok_or_else(|| Refusal::new("messages", "[] is too short - 'messages'"))?;
        for message in messages {
            let role = message["role"].as_str().unwrap_or_default();
            if !["system", "developer", "user", "assistant", "tool", "function"].contains(&role) {
                return Err(Refusal::new(
                    "messages",
                    "every message needs a role: system, developer, user, assistant or tool",
                ));
            }
        }
        let limit = ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|name| body[name].as_u64());
        if limit == Some(0) {
            return Err(Refusal::new("max_tokens", "max_tokens must be at least 1"));
        }
        let choices = match &body["n"] {
            Value::Null => 1,
            n => n
                .as_u64()
                .filter(|n| (1..=MOST_CHOICES).contains(n))
                .ok_or_else(|| Refusal::new("n", format!("n must be between 1 and {MOST_CHOICES}")))?,
        };
        let last = messages.last().unwrap_or(&Value::Null);
        let asked = messages.iter().rfind(|message| message["role"] == "user");
        let question = asked.map(|message| text_of(&message["content"])).unwrap_or_default();
        let tool = body["tools"]
            .as_array()
            .and_then(|tools| tools.iter().find_map(|tool| tool["function"]["name"].as_str()))
            .filter(|_| last["role"] == "user" && body["tool_choice"] != "none");
        let (content, text) = match tool {
            Some(name) => (
                Content::ToolCall(name.to_owned()),
                arguments(&body["tools"][0]["function"]["parameters"]),
            ),
            None if wants_json(body) => (
                Content::Text,
                json!({"answer": question, "model": "maple-dev"}).to_string(),
            ),
            None => (Content::Text, prose(&question, messages.len())),
        };
        Ok(Self {
            id: format!("chatcmpl-{:016x}", hash(&body.to_string())),
            model: body["model"].clone(),
            prompt_tokens: messages
                .iter()
                .map(|message| pieces(&text_of(&message["content"])).len() + 4)
                .sum(),
            include_usage: body["stream_options"]["include_usage"] == true,
            most_tokens: limit.and_then(|limit| usize::try_from(limit).ok()),
            choices,
            question,
            parts: pieces(&text),
            content,
            finish_reason: if tool.is_some() { "tool_calls" } else { "stop" },
        })
    }

    /// Repeats the text until it has `tokens` pieces, and cuts it where the request wants it cut.
    pub(super) fn sized(mut self, tokens: Option<usize>) -> Self {
        if let Some(tokens) = tokens.filter(|_| matches!(self.content, Content::Text) && !self.parts.is_empty()) {
            self.parts = self.parts.iter().cycle().take(tokens.max(1)).cloned().collect();
        }
        if let Some(most) = self.most_tokens.filter(|most| self.parts.len() > *most) {
            self.parts.truncate(most);
            self.finish_reason = "length";
        }
        self
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens as u64, self.parts.len() as u64 * self.choices);
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    fn tool_call_id(&self) -> String {
        format!("call_{}", &self.id[9..])
    }

    pub(super) fn whole(&self) -> Value {
        let text = self.parts.concat();
        let message = match &self.content {
            Content::Text => json!({"role": "assistant", "content": text, "refusal": null}),
            Content::ToolCall(name) => json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": self.tool_call_id(), "type": "function", "function": {"name": name, "arguments": text}}]}),
        };
        json!({
            "id": self.id, "object": "chat.completion", "created": 1_700_000_000, "model": self.model,
            "choices": (0..self.choices)
                .map(|index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": self.finish_reason}))
                .collect::<Vec<_>>(),
            "usage": self.usage(), "system_fingerprint": "fp_maple_dev"
        })
    }

    /// The events of a stream, in order.
    pub(super) fn events(&self) -> Vec<(Part, Bytes)> {
        let opening = match &self.content {
            Content::Text => json!({"role": "assistant", "content": ""}),
            Content::ToolCall(name) => {
                let call = json!({"index": 0, "id": self.tool_call_id(), "type": "function", "function": {"name": name, "arguments": ""}});
                json!({"role": "assistant", "content": null, "tool_calls": [call]})
            }
        };
        let mut events = Vec::new();
        self.chunks(Part::Frame, &opening, None, &mut events);
        for part in &self.parts {
            let delta = match self.content {
                Content::Text => json!({ "content": part }),
                Content::ToolCall(_) => json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}),
            };
            self.chunks(Part::Text, &delta, None, &mut events);
        }
        self.chunks(Part::Frame, &json!({}), Some(self.finish_reason), &mut events);
        if self.include_usage {
            let mut usage = self.frame();
            usage["choices"] = json!([]);
            usage["usage"] = self.usage();
            events.push((Part::Frame, event(&usage)));
        }
        events.push((Part::Frame, Bytes::from_static(b"data: [DONE]\n\n")));
        events
    }

    fn frame(&self) -> Value {
        json!({"id": self.id, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": self.model, "system_fingerprint": "fp_maple_dev"})
    }

    /// The same for each choice. The choices are made at once, so only the first takes time.
    fn chunks(&self, part: Part, delta: &Value, finish_reason: Option<&str>, events: &mut Vec<(Part, Bytes)>) {
        for index in 0..self.choices {
            let mut chunk = self.frame();
            chunk["choices"] =
                json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
            if self.include_usage {
                chunk["usage"] = Value::Null;
            }
            events.push((if index == 0 { part } else { Part::Frame }, event(&chunk)));
        }
    }
}

fn event(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// Content is a text, or parts of which some are text.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    }
}

fn wants_json(body: &Value) -> bool {
    matches!(
        body["response_format"]["type"].as_str(),
        Some("json_object" | "json_schema")
    )
}

/// Arguments that fit a function's JSON schema loosely: a value of the right type for each required property.
fn arguments(parameters: &Value) -> String {
    let required = parameters["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let value = |name: &str| match parameters["properties"][name]["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("Ottawa"),
    };
    Value::Object(required.map(|name| (name.to_owned(), value(name))).collect()).to_string()
}

/// Words with the space before them: about what a tokeniser makes of English.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if c.is_whitespace() && !piece.trim_end().is_empty() {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

fn prose(question: &str, turns: usize) -> String {
    let quoted: String = question.chars().take(200).collect::<String>().replace('\n', " ");
    let opening = match hash(question) % 3 {
        0 => "Good question.",
        1 => "Let me think about that.",
        _ => "Here is what I can say.",
    };
    let mut text = format!(
        "{opening} You wrote:\n\n> {quoted}\n\nI am **maple-dev**, the built-in development model, so I know nothing about the \
         world. I am here so that everything else can be tried:\n\n\
         1. answers arrive word by word, as from a real model;\n\
         2. *Markdown* is rendered, with `code`, lists and tables;\n\
         3. the same question always gets the same answer.\n"
    );
    let folded = question.to_lowercase();
    if folded.contains("code") || folded.contains("rust") || hash(question).is_multiple_of(2) {
        text.push_str(
            "\nA little code, since that is what people look at first:\n\n```rust\nfn main() {\n    \
             let leaves = [\"red\", \"gold\", \"green\"];\n    for leaf in leaves {\n        println!(\"a {leaf} leaf\");\n    }\n}\n```\n",
        );
    } else {
        text.push_str("\n| leaf | season |\n|---|---|\n| green | summer |\n| red | autumn |\n");
    }
    if turns > 1 {
        text.push_str("\nThis conversation has ");
        text.push_str(&turns.to_string());
        text.push_str(" messages so far, and I was given all of them.\n");
    }
    text.push_str("\nSet `OPENAI_API_KEY` or `OPENAI_BASE_URL` to talk to a real model.");
    text
}

#[cfg(test)]
mod tests {
    use super::{Answer, pieces};
    use crate::provider::sse::{events, scan_chunk};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_stream_adds_up_to_the_whole() {
        let body = json!({"model": "maple-dev", "messages": [{"role": "user", "content": "Some code, please"}], "stream_options": {"include_usage": true}});
        let answer = Answer::of(&body).ok().unwrap();
        let text = answer.whole()["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        let stream: Vec<u8> = answer.events().iter().flat_map(|(_, event)| event.to_vec()).collect();
        let streamed: String = events(&stream)
            .filter_map(|event| crate::provider::sse::delta_text(event.data()))
            .collect();
        assert_eq!(streamed, text);
        let usage = events(&stream)
            .filter_map(|event| scan_chunk(event.data()).usage)
            .collect::<Vec<_>>();
        assert_eq!(usage.len(), 1);
        assert_eq!(usage[0].output, answer.parts.len() as u64);
        assert!(stream.ends_with(b"data: [DONE]\n\n"));
    }

    #[test]
    fn tools_limits_and_refusals() {
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"days": {"type": "integer"}}, "required": ["days"]}}}]);
        let asked = json!({"messages": [{"role": "user", "content": "x"}], "tools": tools});
        let call = Answer::of(&asked).ok().unwrap().whole();
        assert_eq!(
            call["choices"][0]["message"]["tool_calls"][0]["function"],
            json!({"name": "weather", "arguments": "{\"days\":1}"})
        );
        assert_eq!(call["choices"][0]["finish_reason"], "tool_calls");
        let short = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 3});
        assert_eq!(
            Answer::of(&short).ok().unwrap().sized(Some(10)).whole()["choices"][0]["finish_reason"],
            "length"
        );
        for bad in [
            json!({}),
            json!({"messages": []}),
            json!({"messages": [1]}),
            json!({"messages": [{"role": "x"}]}),
            json!({"messages": [{"role": "user", "content": "x"}], "n": 0}),
        ] {
            assert!(Answer::of(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices_are_as_many_as_asked_for() {
        let body = json!({"messages": [{"role": "user", "content": "x"}], "n": 2, "max_tokens": 4});
        let answer = Answer::of(&body).ok().unwrap().sized(None);
        let whole = answer.whole();
        assert_eq!(whole["choices"].as_array().unwrap().len(), 2);
        assert_eq!(whole["choices"][1]["index"], 1);
        assert_eq!(whole["usage"]["completion_tokens"], 8);
        // The opening, four pieces and the end, for each of both; and the marker.
        assert_eq!(answer.events().len(), 2 * (1 + 4 + 1) + 1);
        assert_eq!(
            answer
                .events()
                .iter()
                .filter(|(part, _)| *part == super::Part::Text)
                .count(),
            4
        );
    }

    proptest! {
        #[test]
        fn pieces_lose_nothing(text in "\\PC{0,60}|[a \n]{0,30}") {
            prop_assert_eq!(pieces(&text).concat(), text);
        }
    }
}
