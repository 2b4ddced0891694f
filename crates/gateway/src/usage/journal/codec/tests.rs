use chrono::DateTime;
use proptest::{prelude::*, strategy::ValueTree as _};
use uuid::Uuid;

use super::{Frame, encode, frame};
use domain::{
    ids::{ApiKeyId, OrganizationId, UsageRecordId, UserId},
    model::ModelKind,
    money::Cost,
    tokens::TokenUsage,
    usage::{CallOutcome, UsageRecord},
};

prop_compose! {
    /// Any record that could come.
    pub(in crate::usage::journal) fn any_record()(
        ids in any::<[u128; 3]>(),
        key in any::<Option<u128>>(),
        texts in ("[ -~]{0,40}", "\\PC{0,20}"),
        kind in prop::sample::select(vec![ModelKind::Chat, ModelKind::Embedding]),
        outcome in prop::sample::select(CallOutcome::ALL.to_vec()),
        flags in any::<[bool; 2]>(),
        saved in any::<Option<u64>>(),
        numbers in any::<[u64; 4]>(),
        cached_input in prop_oneof![Just(0), any::<u64>()],
        first_token_us in any::<Option<u64>>(),
        micros in -1_000_000_000_000_000_i64..4_000_000_000_000_000,
    ) -> UsageRecord {
        UsageRecord {
            id: UsageRecordId(Uuid::from_u128(ids[0])),
            organization: OrganizationId(Uuid::from_u128(ids[1])),
            user: UserId(Uuid::from_u128(ids[2])),
            api_key: key.map(|key| ApiKeyId(Uuid::from_u128(key))),
            model: texts.0.into(),
            provider: texts.1.into(),
            kind,
            outcome,
            streamed: flags[0],
            tokens: TokenUsage { input: numbers[0], output: numbers[1], cached_input, estimated: flags[1] },
            cost: Cost::from_nanodollars(numbers[2]),
            cached: saved.is_some(),
            saved: Cost::from_nanodollars(saved.unwrap_or(0)),
            latency_us: numbers[3],
            first_token_us,
            created_at: DateTime::from_timestamp_micros(micros).unwrap(),
        }
    }
}

pub(in crate::usage::journal) fn encoded(record: &UsageRecord) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    encode(record, &mut bytes).unwrap();
    assert_eq!(bytes.drain(..6).as_slice(), b"before");
    bytes
}

proptest! {
    #[test]
    fn what_was_written_is_read(record in any_record(), more in any::<Vec<u8>>()) {
        let mut bytes = encoded(&record);
        let length = bytes.len();
        bytes.extend(more);
        prop_assert_eq!(frame(&bytes), Frame::Record(Box::new(record), length));
    }

    #[test]
    fn a_torn_record_is_partial(record in any_record(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&record);
        prop_assert_eq!(frame(&bytes[..cut.index(bytes.len())]), Frame::Partial);
    }

    #[test]
    fn a_flipped_bit_is_noticed(record in any_record(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // A length that grew makes it look torn, until more bytes come.
        let found = frame(&bytes);
        prop_assert!(matches!(found, Frame::Damaged | Frame::Partial), "{:?}", found);
    }

    #[test]
    fn anything_at_all_can_be_read(bytes in any::<Vec<u8>>()) {
        let _ = frame(&bytes);
    }
}

#[test]
fn a_text_without_room_is_refused() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut record = any_record().new_tree(&mut runner).unwrap().current();
    record.model = "m".repeat(70_000).into();
    let mut bytes = b"before".to_vec();
    assert!(encode(&record, &mut bytes).is_err());
    assert_eq!(bytes, b"before");
    record.model = "m".repeat(65_500).into();
    assert!(encode(&record, &mut Vec::new()).is_err());
}
