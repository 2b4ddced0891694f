//! The form of a record in the journal.
//!
//! ```text
//! frame:   mark (2) | length of payload (2) | CRC-32 of length and payload (4) | payload
//! payload: version (1) | flags, kind, outcome (3) | ids (48 or 64) | numbers (40 or 48) | model | provider | saved (0 or 8) | cached input (0 or 8)
//! ```
//!
//! Integers are little-endian, texts have their length in two bytes before them. By hand rather than with serde: a record is
//! written before every answer's last byte, and this takes no allocation.

use bytes::{Buf, BufMut, TryGetError};
use chrono::DateTime;
use uuid::Uuid;

use domain::{
    ids::{ApiKeyId, OrganizationId, UsageRecordId, UserId},
    model::ModelKind,
    money::Cost,
    tokens::TokenUsage,
    usage::{CallOutcome, UsageRecord},
};

/// Starts every frame, so that a reader finds the next one behind a damaged one.
pub(super) const MARK: [u8; 2] = [0xA7, 0x4D];
const HEAD: usize = 8;
/// The largest frame: the length has two bytes.
pub(super) const MAX_FRAME_BYTES: usize = HEAD + u16::MAX as usize;
const VERSION: u8 = 1;

const STREAMED: u8 = 1;
const ESTIMATED: u8 = 2;
const HAS_KEY: u8 = 4;
const HAS_FIRST_TOKEN: u8 = 8;
/// What was saved follows at the end, where earlier versions do not look: they take the record for one that cost nothing.
const CACHED: u8 = 16;
/// The count of cached input tokens follows at the very end, where earlier versions do not look either.
const HAS_CACHED_INPUT: u8 = 32;

/// A record whose texts have no room in a frame. The catalogue's names are far shorter.
#[derive(Debug, thiserror::Error)]
#[error("the record is too long for the journal")]
pub(super) struct TooLong;

/// What bytes start with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A record, and how many bytes it took.
    Record(Box<UsageRecord>, usize),
    /// An intact frame of another version, and how many bytes it took.
    Foreign(usize),
    /// The beginning of a frame: more bytes are needed to tell.
    Partial,
    Damaged,
}

/// Appends the frame of `record` to what `buffer` holds.
pub(super) fn encode(record: &UsageRecord, buffer: &mut Vec<u8>) -> Result<(), TooLong> {
    let start = buffer.len();
    let encoded = try_encode(record, buffer, start);
    if encoded.is_err() {
        buffer.truncate(start);
    }
    encoded
}

fn try_encode(record: &UsageRecord, buffer: &mut Vec<u8>, start: usize) -> Result<(), TooLong> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    buffer.put_slice(&MARK);
    buffer.put_slice(&[0; HEAD - MARK.len()]);
    buffer.put_u8(VERSION);
    buffer.put_u8(
        flag(record.streamed, STREAMED)
            | flag(record.tokens.estimated, ESTIMATED)
            | flag(record.api_key.is_some(), HAS_KEY)
            | flag(record.first_token_us.is_some(), HAS_FIRST_TOKEN)
            | flag(record.cached, CACHED)
            | flag(record.tokens.cached_input > 0, HAS_CACHED_INPUT),
    );
    buffer.put_u8(code_of_kind(record.kind));
    buffer.put_u8(code_of_outcome(record.outcome));
    buffer.put_slice(record.id.0.as_bytes());
    buffer.put_slice(record.organization.0.as_bytes());
    buffer.put_slice(record.user.0.as_bytes());
    if let Some(key) = record.api_key {
        buffer.put_slice(key.0.as_bytes());
    }
    buffer.put_u64_le(record.tokens.input);
    buffer.put_u64_le(record.tokens.output);
    buffer.put_u64_le(record.cost.nanodollars());
    buffer.put_u64_le(record.latency_us);
    if let Some(first_token) = record.first_token_us {
        buffer.put_u64_le(first_token);
    }
    buffer.put_i64_le(record.created_at.timestamp_micros());
    for text in [&record.model, &record.provider] {
        buffer.put_u16_le(u16::try_from(text.len()).map_err(|_| TooLong)?);
        buffer.put_slice(text.as_bytes());
    }
    if record.cached {
        buffer.put_u64_le(record.saved.nanodollars());
    }
    if record.tokens.cached_input > 0 {
        buffer.put_u64_le(record.tokens.cached_input);
    }
    let (head, payload) = buffer[start..].split_at_mut(HEAD);
    let length = u16::try_from(payload.len()).map_err(|_| TooLong)?.to_le_bytes();
    head[2..4].copy_from_slice(&length);
    head[4..].copy_from_slice(&checksum(length, payload).to_le_bytes());
    Ok(())
}

/// Reads what stands at the start of `bytes`.
pub(super) fn frame(bytes: &[u8]) -> Frame {
    if !bytes.starts_with(&MARK[..bytes.len().min(MARK.len())]) {
        return Frame::Damaged;
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Frame::Partial;
    };
    let [_, _, low, high, checks @ ..] = *head;
    let length = [low, high];
    let Some(payload) = rest.get(..usize::from(u16::from_le_bytes(length))) else {
        return Frame::Partial;
    };
    if checksum(length, payload) != u32::from_le_bytes(checks) {
        return Frame::Damaged;
    }
    let taken = HEAD + payload.len();
    match decode(payload) {
        Ok(Some(record)) => Frame::Record(Box::new(record), taken),
        Ok(None) | Err(_) => Frame::Foreign(taken),
    }
}

fn checksum(length: [u8; 2], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// Nothing for what only another version understands.
fn decode(mut bytes: &[u8]) -> Result<Option<UsageRecord>, TryGetError> {
    let bytes = &mut bytes;
    if bytes.try_get_u8()? != VERSION {
        return Ok(None);
    }
    let flags = bytes.try_get_u8()?;
    let (kind, outcome) = (bytes.try_get_u8()?, bytes.try_get_u8()?);
    let (Some(kind), Some(outcome)) = (kind_of(kind), outcome_of(outcome)) else {
        return Ok(None);
    };
    let mut record = UsageRecord {
        id: UsageRecordId(id(bytes)?),
        organization: OrganizationId(id(bytes)?),
        user: UserId(id(bytes)?),
        api_key: if flags & HAS_KEY == 0 {
            None
        } else {
            Some(ApiKeyId(id(bytes)?))
        },
        tokens: TokenUsage {
            input: bytes.try_get_u64_le()?,
            output: bytes.try_get_u64_le()?,
            cached_input: 0,
            estimated: flags & ESTIMATED != 0,
        },
        cost: Cost::from_nanodollars(bytes.try_get_u64_le()?),
        latency_us: bytes.try_get_u64_le()?,
        first_token_us: if flags & HAS_FIRST_TOKEN == 0 {
            None
        } else {
            Some(bytes.try_get_u64_le()?)
        },
        created_at: match DateTime::from_timestamp_micros(bytes.try_get_i64_le()?) {
            Some(time) => time,
            None => return Ok(None),
        },
        model: match text(bytes)? {
            Some(text) => text.into(),
            None => return Ok(None),
        },
        provider: match text(bytes)? {
            Some(text) => text.into(),
            None => return Ok(None),
        },
        kind,
        outcome,
        streamed: flags & STREAMED != 0,
        cached: flags & CACHED != 0,
        saved: if flags & CACHED == 0 {
            Cost::default()
        } else {
            Cost::from_nanodollars(bytes.try_get_u64_le()?)
        },
    };
    if flags & HAS_CACHED_INPUT != 0 {
        record.tokens.cached_input = bytes.try_get_u64_le()?;
    }
    Ok(Some(record))
}

fn id(bytes: &mut &[u8]) -> Result<Uuid, TryGetError> {
    let mut id = [0; 16];
    bytes.try_copy_to_slice(&mut id)?;
    Ok(Uuid::from_bytes(id))
}

fn text<'b>(bytes: &mut &'b [u8]) -> Result<Option<&'b str>, TryGetError> {
    let length = usize::from(bytes.try_get_u16_le()?);
    let Some((text, rest)) = bytes.split_at_checked(length) else {
        return Ok(None);
    };
    *bytes = rest;
    Ok(std::str::from_utf8(text).ok())
}

fn code_of_kind(kind: ModelKind) -> u8 {
    match kind {
        ModelKind::Chat => 0,
        ModelKind::Embedding => 1,
    }
}

fn kind_of(code: u8) -> Option<ModelKind> {
    [ModelKind::Chat, ModelKind::Embedding]
        .into_iter()
        .find(|kind| code_of_kind(*kind) == code)
}

fn code_of_outcome(outcome: CallOutcome) -> u8 {
    match outcome {
        CallOutcome::Completed => 0,
        CallOutcome::Cancelled => 1,
        CallOutcome::Refused => 2,
        CallOutcome::Failed => 3,
        CallOutcome::TimedOut => 4,
    }
}

fn outcome_of(code: u8) -> Option<CallOutcome> {
    CallOutcome::ALL
        .into_iter()
        .find(|outcome| code_of_outcome(*outcome) == code)
}

#[cfg(test)]
pub(super) mod tests;
