//! What an upstream says of us in an error: no secret comes through, nor its beginning, whatever stands around it.

#[path = "../../crates/provider/src/exchange/redact.rs"]
mod redact;

const SECRET: &[u8] = b"upstream secret 0123";
/// Of ids, as OpenAI has them.
const PREFIXES: [&[u8]; 3] = [b"sk-", b"org-", b"proj_"];
/// As much of it is a quotation.
const QUOTED: usize = 8;

pub fn check(data: &[u8]) {
    let secrets = [SECRET.into()];
    let redacted = redact::redact(data, &secrets, &PREFIXES);
    assert!(!quotes(&redacted), "{redacted:?}");
    let Some((before, after)) = crate::cut(data) else {
        return;
    };
    let text = [before, SECRET, after].concat();
    let redacted = redact::redact(&text, &secrets, &PREFIXES);
    assert!(!quotes(&redacted), "{redacted:?}");
}

fn quotes(text: &[u8]) -> bool {
    text.windows(QUOTED).any(|window| window == &SECRET[..QUOTED])
}
