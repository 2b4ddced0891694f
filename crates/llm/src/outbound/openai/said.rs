//! What an answer says beside its text: why it ends, a refusal, thoughts, calls of tools, an error. Read for people only, who
//! are to be told; programs get it all as it came.

use serde_json::Value;

/// Of one chunk's, or a whole answer's, first choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    pub thoughts: String,
    pub refusal: String,
    pub calls_tools: bool,
    pub finish: Option<Finish>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By itself, or for a reason that nobody knows.
    Stop,
    Length,
    ContentFilter,
    ToolCalls,
}

/// What an upstream that refuses a request has against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// The conversation is longer than the model's context.
    ContextLength,
    ContentFilter,
    Other,
}

/// Reads a chunk or a whole answer. What is not one says nothing.
pub fn said(data: &[u8]) -> Said {
    // Most chunks have text, a reason that is null, and nothing else.
    let Ok(object) = serde_json::from_slice::<Value>(data) else {
        return Said::default();
    };
    let choices = object["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(choice) = choices.first() else {
        return Said::default();
    };
    let part = [&choice["delta"], &choice["message"]]
        .into_iter()
        .find(|part| part.is_object())
        .unwrap_or(&Value::Null);
    Said {
        thoughts: ["reasoning_content", "reasoning"]
            .iter()
            .find_map(|key| part[*key].as_str())
            .unwrap_or_default()
            .to_owned(),
        refusal: part["refusal"].as_str().unwrap_or_default().to_owned(),
        calls_tools: part["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty())
            || part["function_call"].is_object(),
        finish: finish(&choice["finish_reason"]),
    }
}

fn finish(reason: &Value) -> Option<Finish> {
    Some(match reason.as_str().filter(|reason| !reason.is_empty())? {
        "length" | "max_tokens" | "MAX_TOKENS" | "model_length" => Finish::Length,
        "content_filter" | "SAFETY" | "safety" | "refusal" => Finish::ContentFilter,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        _ => Finish::Stop,
    })
}

/// Reads the body of a refusal. Servers that have no code for it say in English that a prompt is too long; the words are those
/// of OpenAI, Azure, vLLM, llama.cpp, Ollama, TGI, Mistral and Anthropic. Public reports: open-webui #4501, LibreChat #1571.
pub fn objection(body: &[u8]) -> Objection {
    const CONTEXT: [&str; 12] = [
        "context_length",
        "maximum context",
        "context length",
        "context window",
        "context size",
        "prompt is too long",
        "input is too long",
        "input length",
        "too many tokens",
        "too large for model",
        "exceed_context_size",
        "reduce the length",
    ];
    const FILTER: [&str; 3] = ["content_filter", "content_policy", "content management policy"];
    // What matters stands at the beginning; an upstream's page of HTML is not read through.
    let start = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_lowercase();
    if CONTEXT.iter().any(|words| start.contains(words)) {
        Objection::ContextLength
    } else if FILTER.iter().any(|words| start.contains(words)) {
        Objection::ContentFilter
    } else {
        Objection::Other
    }
}

/// Whether a refusal's body names the wish for usage in a stream (openai/openai-agents-python #442).
pub fn objects_to_usage(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"stream_options").is_some()
}

#[cfg(test)]
mod tests {
    use super::{Finish, Objection, Said, objection, said};

    #[test]
    fn what_is_said_beside_the_text_is_read() {
        let thinking = br#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}]}"#;
        assert_eq!(
            said(thinking),
            Said {
                thoughts: "hm".to_owned(),
                ..Said::default()
            }
        );
        let refusal = br#"{"choices":[{"message":{"content":null,"refusal":"I cannot."},"finish_reason":"stop"}]}"#;
        let refusal = said(refusal);
        assert_eq!(
            (refusal.refusal.as_str(), refusal.finish),
            ("I cannot.", Some(Finish::Stop))
        );
        let tools = br#"{"choices":[{"delta":{"tool_calls":[{"index":0}]},"finish_reason":"tool_calls"}]}"#;
        let tools = said(tools);
        assert!(tools.calls_tools && tools.finish == Some(Finish::ToolCalls));
        for (reason, finish) in [
            ("length", Finish::Length),
            ("content_filter", Finish::ContentFilter),
            ("eos", Finish::Stop),
        ] {
            let data = format!(r#"{{"choices":[{{"finish_reason":"{reason}"}}]}}"#);
            assert_eq!(said(data.as_bytes()).finish, Some(finish));
        }
        for nothing in [
            "",
            "[DONE]",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"delta":null,"finish_reason":""}]}"#,
        ] {
            assert_eq!(said(nothing.as_bytes()), Said::default(), "{nothing}");
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_is_told_from_other_refusals() {
        for (body, expected) in [
            (
                r#"{"error":{"code":"context_length_exceeded"}}"#,
                Objection::ContextLength,
            ),
            (
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens."}}"#,
                Objection::ContextLength,
            ),
            (
                r#"{"error":{"message":"the request exceeds the available context size"}}"#,
                Objection::ContextLength,
            ),
            (
                r#"{"message":"prompt is too long: 9 tokens > 8 maximum"}"#,
                Objection::ContextLength,
            ),
            (r#"{"error":{"code":"content_filter"}}"#, Objection::ContentFilter),
            (r#"{"error":{"message":"unknown field"}}"#, Objection::Other),
            ("", Objection::Other),
        ] {
            assert_eq!(objection(body.as_bytes()), expected, "{body}");
        }
    }
}
