//! What the mock upstream says, rendered once.

use bytes::Bytes;

/// Content chunks of a streamed answer; the load side checks that all of them arrive.
pub(crate) const CHUNKS: usize = 20;

const COMPLETION: &str = concat!(
    r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,"model":"bench-model","#,
    r#""choices":[{"index":0,"message":{"role":"assistant","content":"Sugar maples give the sweetest sap; they are "#,
    r#"tapped from late winter, when nights freeze and days thaw.","refusal":null},"logprobs":null,"#,
    r#""finish_reason":"stop"}],"usage":{"prompt_tokens":27,"completion_tokens":24,"total_tokens":51},"#,
    r#""system_fingerprint":"fp_bench"}"#
);
const MODELS: &str =
    r#"{"object":"list","data":[{"id":"bench-model","object":"model","created":1750000000,"owned_by":"bench"}]}"#;

/// The bodies of answers.
pub(crate) struct Script {
    pub(crate) completion: Bytes,
    pub(crate) models: Bytes,
    /// Of a stream, one chunk each: with what it used before the last, and without.
    pub(crate) with_usage: Vec<Bytes>,
    pub(crate) without_usage: Vec<Bytes>,
}

impl Script {
    pub(crate) fn new() -> Self {
        let content = (0..CHUNKS).map(|index| {
            let delta = if index == 0 {
                r#"{"role":"assistant","content":"Sugar"}"#
            } else {
                r#"{"content":" maples"}"#
            };
            let finish = if index + 1 == CHUNKS { r#""stop""# } else { "null" };
            event(&format!(
                r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#
            ))
        });
        let usage = event(r#""choices":[],"usage":{"prompt_tokens":27,"completion_tokens":20,"total_tokens":47}"#);
        let done = Bytes::from_static(b"data: [DONE]\n\n");
        let without_usage: Vec<Bytes> = content.chain([done]).collect();
        let mut with_usage = without_usage.clone();
        with_usage.insert(CHUNKS, usage);
        Self {
            completion: Bytes::from_static(COMPLETION.as_bytes()),
            models: Bytes::from_static(MODELS.as_bytes()),
            with_usage,
            without_usage,
        }
    }
}

fn event(rest: &str) -> Bytes {
    let event = format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\
         \"model\":\"bench-model\",{rest}}}\n\n"
    );
    Bytes::from(event)
}
