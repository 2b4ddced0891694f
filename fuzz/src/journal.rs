//! The usage journal: whatever a killed process or a failing disk left behind is read to its end, and each record that is whole is
//! found and is what it was.

// rustfmt would look for its tests beside it.
#[path = "../../crates/gateway/src/usage/journal/codec.rs"]
#[rustfmt::skip]
mod codec;
#[path = "../../crates/gateway/src/usage/journal/reader.rs"]
mod reader;

use std::sync::LazyLock;

use chrono::DateTime;
use codec::{Frame, MARK, encode, frame};
use domain::{
    ids::{ApiKeyId, OrganizationId, UsageRecordId, UserId},
    model::ModelKind,
    money::Cost,
    tokens::TokenUsage,
    usage::{CallOutcome, UsageRecord},
};
use reader::{Findings, Reader};
use uuid::Uuid;

static RECORD: LazyLock<(UsageRecord, Vec<u8>)> = LazyLock::new(|| {
    let record = UsageRecord {
        id: UsageRecordId(Uuid::from_bytes([1; 16])),
        organization: OrganizationId(Uuid::from_bytes([2; 16])),
        user: UserId(Uuid::from_bytes([3; 16])),
        api_key: Some(ApiKeyId(Uuid::from_bytes([4; 16]))),
        model: "maple-chat".into(),
        provider: "openai".into(),
        kind: ModelKind::Chat,
        outcome: CallOutcome::Completed,
        streamed: true,
        tokens: TokenUsage {
            input: 3,
            output: 5,
            cached_input: 2,
            estimated: false,
        },
        cost: Cost::from_nanodollars(1_250),
        cached: true,
        saved: Cost::from_nanodollars(9),
        latency_us: 1_700,
        first_token_us: Some(300),
        created_at: DateTime::from_timestamp_micros(1_790_000_000_000_000).expect("a time"),
    };
    let mut bytes = Vec::new();
    encode(&record, &mut bytes).expect("it is short");
    (record, bytes)
});

pub fn check(data: &[u8]) {
    let Some((before, after)) = crate::cut(data) else {
        return;
    };
    let (record, bytes) = &*RECORD;
    let (read, _) = read(&[bytes, bytes, data].concat());
    assert!(
        read.starts_with(&[record.clone(), record.clone()]),
        "before damage nothing is lost"
    );
    let (read, found) = self::read(&[before, bytes, after, bytes].concat());
    // A frame of another version is as long as it says, whatever is in it.
    let whole = read.iter().filter(|one| *one == record).count();
    assert!(
        whole >= 2 || found.foreign > 0,
        "around damage nothing is lost: {found:?}"
    );
    again(data);
    // A checksum is nothing that a fuzzer finds: it is given to what stands behind the head.
    again(&framed(&data[..data.len().min(usize::from(u16::MAX))]));
}

fn read(bytes: &[u8]) -> (Vec<UsageRecord>, Findings) {
    let (mut reader, mut all) = (Reader::new(bytes), Vec::new());
    loop {
        let batch = reader.batch(16).expect("memory has no errors");
        if batch.is_empty() {
            return (all, reader.findings());
        }
        all.extend(batch);
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("it was cut").to_le_bytes();
    let checksum = crc32fast::hash(&[&length, payload].concat());
    [&MARK[..], &length, &checksum.to_le_bytes(), payload].concat()
}

/// A record that is read is written and read again as it was.
fn again(bytes: &[u8]) {
    if let Frame::Record(record, taken) = frame(bytes) {
        assert!(taken <= bytes.len());
        let mut again = Vec::new();
        encode(&record, &mut again).expect("it had room before");
        assert_eq!(frame(&again), Frame::Record(record, again.len()));
    }
}
