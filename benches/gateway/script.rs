//! What the mock upstream says, rendered once.

/// Content chunks of a streamed answer; the load side checks that all of them arrive.
pub(crate) const CHUNKS: usize = 20;

const COMPLETION: &str = concat!(
    r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,"model":"bench-model","#,
    r#""choices":[{"index":0,"message":{"role":"assistant","content":"Sugar maples give the sweetest sap; they are "#,
    r#"tapped from late winter, when nights freeze and days thaw.","refusal":null},"logprobs":null,"#,
    r#""finish_reason":"stop"}],"usage":{"prompt_tokens":27,"completion_tokens":24,"total_tokens":51},"#,
    r#""system_fingerprint":"fp_bench"}"#
);

/// The answers, as bytes ready to write.
pub(crate) struct Script {
    pub(crate) completion: Vec<u8>,
    pub(crate) models: Vec<u8>,
    /// One write each; the response head leaves with the first, as it does from most servers.
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) usage: Vec<u8>,
    pub(crate) done: Vec<u8>,
}

impl Script {
    pub(crate) fn new() -> Self {
        let mut chunks: Vec<Vec<u8>> = (0..CHUNKS)
            .map(|index| {
                let delta = if index == 0 {
                    r#"{"role":"assistant","content":"Sugar"}"#
                } else {
                    r#"{"content":" maples"}"#
                };
                let finish = if index + 1 == CHUNKS { r#""stop""# } else { "null" };
                event(&format!(
                    r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#
                ))
            })
            .collect();
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                     transfer-encoding: chunked\r\n\r\n";
        chunks[0].splice(0..0, head.iter().copied());
        let mut done = chunk("data: [DONE]\n\n");
        done.extend_from_slice(b"0\r\n\r\n");
        Self {
            completion: json(COMPLETION),
            models: json(
                r#"{"object":"list","data":[{"id":"bench-model","object":"model","created":1750000000,"owned_by":"bench"}]}"#,
            ),
            chunks,
            usage: event(r#""choices":[],"usage":{"prompt_tokens":27,"completion_tokens":20,"total_tokens":47}"#),
            done,
        }
    }
}

fn event(rest: &str) -> Vec<u8> {
    chunk(&format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\
         \"model\":\"bench-model\",{rest}}}\n\n"
    ))
}

fn chunk(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
