//! What the development model says, in OpenAI's wire form.

mod text;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Refusal, hash};
use text::{arguments, pieces, prose};

/// As many choices as a request may ask for.
const MAX_CHOICES: u64 = 8;

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
pub(super) struct MockAnswer {
    pub(super) question: String,
    pub(super) parts: Vec<String>,
    id: String,
    model: Value,
    content: Content,
    finish_reason: &'static str,
    /// The same answer this many times: a deterministic model has no other.
    choices: u64,
    max_tokens: Option<usize>,
    /// What ends it, however it is sized.
    closing: Vec<String>,
    prompt_tokens: usize,
    include_usage: bool,
}

impl MockAnswer {
    /// With a `note` it closes with that, whatever is asked of its length, and calls no tool: nothing is done on a made-up answer.
    pub(super) fn of(body: &Value, note: Option<&str>) -> Result<Self, Refusal> {
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
                .filter(|n| (1..=MAX_CHOICES).contains(n))
                .ok_or_else(|| Refusal::new("n", format!("n must be between 1 and {MAX_CHOICES}")))?,
        };
        let last = messages.last().unwrap_or(&Value::Null);
        let asked = messages.iter().rfind(|message| message["role"] == "user");
        let question = asked.map(|message| text_of(&message["content"])).unwrap_or_default();
        let tool = body["tools"]
            .as_array()
            .and_then(|tools| tools.iter().find_map(|tool| tool["function"]["name"].as_str()))
            .filter(|_| note.is_none() && last["role"] == "user" && body["tool_choice"] != "none");
        let (content, text) = match tool {
            Some(name) => (
                Content::ToolCall(name.to_owned()),
                arguments(&body["tools"][0]["function"]["parameters"]),
            ),
            None if wants_json(body) => (Content::Text, in_json(&question, note)),
            None => (Content::Text, prose(&question, messages.len(), note.is_none())),
        };
        let closing = note
            .filter(|_| !wants_json(body))
            .map_or_else(Vec::new, |note| pieces(&format!("\n\n{note}")));
        Ok(Self {
            id: format!("chatcmpl-{:016x}", hash(&body.to_string())),
            model: body["model"].clone(),
            prompt_tokens: messages
                .iter()
                .map(|message| pieces(&text_of(&message["content"])).len() + 4)
                .sum(),
            include_usage: body["stream_options"]["include_usage"] == true,
            max_tokens: limit.and_then(|limit| usize::try_from(limit).ok()),
            choices,
            question,
            closing,
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
        let max = self.max_tokens.map(|max| max.saturating_sub(self.closing.len()));
        if let Some(max) = max.filter(|max| self.parts.len() > *max) {
            self.parts.truncate(max);
            self.finish_reason = "length";
        }
        self.parts.append(&mut self.closing);
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

fn in_json(question: &str, note: Option<&str>) -> String {
    let mut answer = json!({"answer": question, "model": "maple-dev"});
    if let Some(note) = note {
        answer["note"] = note.into();
    }
    answer.to_string()
}

fn wants_json(body: &Value) -> bool {
    matches!(
        body["response_format"]["type"].as_str(),
        Some("json_object" | "json_schema")
    )
}

#[cfg(test)]
mod tests;
