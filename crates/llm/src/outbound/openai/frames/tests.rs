use super::{FrameReader, Stage, of_stored};
use crate::frame::FrameKind;
use bytes::Bytes;
use proptest::prelude::*;

fn frames(item: &str) -> Vec<(FrameKind, String)> {
    let mut reader = FrameReader::new(1);
    reader.push(Bytes::from(item.to_owned()));
    let all = std::iter::from_fn(|| reader.next(<[u8]>::to_vec, drop));
    all.map(|frame| (frame.kind, String::from_utf8(frame.data().into_owned()).unwrap()))
        .collect()
}

#[test]
fn each_event_is_a_frame_of_its_kind() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let error = r#"{"error":{"message":"x"}}"#;
    let item = format!(": ping\n\ndata: {chunk}\n\nevent: x\r\ndata: {usage}\r\n\r\ndata: [DONE]\n\ndata: {error}\n\n");
    assert_eq!(
        frames(&item),
        [
            (FrameKind::Comment, String::new()),
            (FrameKind::Data, chunk.to_owned()),
            (FrameKind::Usage, usage.to_owned()),
            (FrameKind::Done, "[DONE]".to_owned()),
            (FrameKind::Error, error.to_owned()),
        ]
    );
    // Several lines of one event are one text.
    assert_eq!(
        frames("data: {\"choices\":\ndata: [{}]}\n\n"),
        [(FrameKind::Data, "{\"choices\":\n[{}]}".to_owned())]
    );
}

#[test]
fn an_error_is_redacted_and_in_the_shape_that_clients_raise() {
    let mut reader = FrameReader::new(1);
    reader.push(Bytes::from_static(b"data: {\"detail\":\"secret\"}\n\n"));
    let redact = |data: &[u8]| {
        String::from_utf8_lossy(data)
            .replace("secret", "[redacted]")
            .into_bytes()
    };
    let frame = reader.next(redact, drop).unwrap();
    assert_eq!(
        frame.bytes,
        "data: {\"error\":{\"detail\":\"[redacted]\",\"message\":\"[redacted]\"}}\n\n"
    );
    assert!(reader.end().is_err());
}

#[test]
fn stages_and_counts_are_told_as_they_come() {
    let mut reader = FrameReader::new(1);
    let mut stages = Vec::new();
    let mut read = |reader: &mut FrameReader, data: &str| {
        reader.push(Bytes::from(format!("data: {data}\n\n")));
        reader.next(<[u8]>::to_vec, |stage| stages.push(stage)).unwrap();
    };
    read(&mut reader, r#"{"choices":[{"delta":{"role":"assistant"}}]}"#);
    read(&mut reader, r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    assert!(reader.end().is_err());
    read(&mut reader, r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#);
    read(
        &mut reader,
        r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
    );
    assert!(!reader.is_counted(), "zeros are no counts");
    read(
        &mut reader,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
    );
    assert!(reader.is_counted() && reader.end().is_ok());
    assert_eq!(stages, [Stage::Content, Stage::Finished]);
}

proptest! {
    /// Nothing is lost and nothing is added: together the frames are what came, but for errors, which are written anew.
    #[test]
    fn frames_are_the_bytes_that_came(
        events in prop::collection::vec(prop::sample::select(vec![
            ": ping\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            "data: {\"choices\":[]}\r\n\r\n",
            "id: 7\nevent: message\ndata: {\"choices\":[{}]}\n\n",
            "data: {\"choices\":\ndata: []}\n\n",
            "data: [DONE]\n\n",
        ]), 0..12),
    ) {
        let item = events.concat();
        let all: Vec<_> = of_stored(Bytes::from(item.clone())).collect();
        prop_assert_eq!(all.len(), events.len());
        let joined: Vec<u8> = all.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        prop_assert_eq!(joined, item.into_bytes());
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = of_stored(Bytes::from(bytes)).count();
    }
}
