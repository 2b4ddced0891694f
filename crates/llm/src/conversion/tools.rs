//! Calls of tools, put together from their pieces.
//!
//! OpenAI names each call once, by an `index`, and sends its arguments piece by piece. Others leave the index out or say `null`
//! (openai/openai-python #2806), repeat the id and name in each piece or say `""` (langchain-ai/langchain #39331, sgl-project/sglang #4700), cut the name,
//! or send two pieces of one call at once (openai/openai-python #3201). A program would carry out what is put together here, so what is not clear is given up.

use serde_json::{Map, Value, json};

#[derive(Default)]
pub(super) struct ToolCalls(Vec<ToolCall>);

#[derive(Default)]
struct ToolCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    /// What else is said of it, such as its type.
    rest: Map<String, Value>,
}

/// One entry of a delta's list.
#[derive(Default)]
struct Piece {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    rest: Map<String, Value>,
}

/// A text, if there is one: `null` and `""` say nothing.
fn text(value: Option<Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text),
        Some(_) => None,
    }
}

impl Piece {
    fn of(value: Value) -> Option<Self> {
        let Value::Object(mut fields) = value else { return None };
        let index = match fields.remove("index") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.parse().ok()?),
            Some(index) => Some(index.as_u64()?),
        };
        let id = text(fields.remove("id"))?;
        let (name, arguments) = match fields.remove("function") {
            None | Some(Value::Null) => Default::default(),
            Some(Value::Object(mut function)) => {
                let name = text(function.remove("name"))?;
                let arguments = match function.remove("arguments") {
                    // All of them at once, as they are meant rather than written.
                    Some(whole @ Value::Object(_)) => whole.to_string(),
                    other => text(other)?,
                };
                if function.values().any(|value| !value.is_null()) {
                    return None;
                }
                (name, arguments)
            }
            Some(_) => return None,
        };
        fields.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
        Some(Self {
            index,
            id,
            name,
            arguments,
            rest: fields,
        })
    }
}

/// A name that comes in pieces, or again and again. A piece that begins with all there is could be either.
pub(super) fn name_of(name_so_far: &str, piece: &str, has_arguments: bool) -> Option<String> {
    if piece.is_empty() || piece == name_so_far {
        return Some(name_so_far.to_owned());
    }
    let is_clear = name_so_far.is_empty() || !(has_arguments || piece.starts_with(name_so_far));
    is_clear.then(|| format!("{name_so_far}{piece}"))
}

impl ToolCalls {
    /// Takes a delta's list.
    pub(super) fn add(&mut self, list: Value) -> Option<()> {
        match list {
            Value::Null => Some(()),
            Value::Array(pieces) => pieces.into_iter().try_for_each(|piece| self.take(Piece::of(piece)?)),
            _ => None,
        }
    }

    fn take(&mut self, piece: Piece) -> Option<()> {
        let place = self.place_of(&piece)?;
        if place == self.0.len() {
            self.0.push(ToolCall {
                index: piece.index,
                ..ToolCall::default()
            });
        }
        self.0.get_mut(place)?.add(piece)
    }

    /// Which call a piece belongs to; one beyond the last for a new one.
    fn place_of(&self, piece: &Piece) -> Option<usize> {
        let new = self.0.len();
        // The last of several: some servers give all calls the index 0, one after the other, with ids of their own.
        let by_index = piece
            .index
            .and_then(|index| self.0.iter().rposition(|call| call.index == Some(index)));
        let by_id = (!piece.id.is_empty())
            .then(|| self.0.iter().position(|call| call.id == piece.id))
            .flatten();
        match (piece.index, by_index, by_id) {
            (Some(_), Some(by_index), Some(by_id)) => (by_index == by_id).then_some(by_index),
            // The index of one call and the id of another.
            (Some(_), None, Some(_)) => None,
            (Some(_), None, None) => Some(new),
            (Some(_), Some(place), None) => {
                let is_another = !piece.id.is_empty() && !self.0.get(place)?.id.is_empty();
                if !is_another {
                    Some(place)
                } else if piece.name.is_empty() {
                    None
                } else {
                    Some(new)
                }
            }
            (None, _, Some(place)) => Some(place),
            (None, _, None) if !piece.id.is_empty() || new == 0 => Some(new),
            // Goes on with the last, unless its name says that it may be the first of another.
            (None, _, None) => {
                let last = self.0.last()?;
                let is_clear = piece.name.is_empty() || piece.name == last.name || last.name.is_empty();
                is_clear.then_some(new - 1)
            }
        }
    }

    /// `is_cut`: the last one may have been cut off.
    pub(super) fn finished(self, is_cut: bool) -> Option<Vec<Value>> {
        let last = self.0.len().saturating_sub(1);
        let mut calls = self.0;
        calls.sort_by_key(|call| call.index);
        let calls = calls.into_iter().enumerate();
        calls.map(|(at, call)| call.finished(is_cut && at == last)).collect()
    }
}

impl ToolCall {
    fn add(&mut self, piece: Piece) -> Option<()> {
        let Piece {
            index: _,
            id,
            name,
            arguments,
            rest,
        } = piece;
        if self.id.is_empty() {
            self.id = id;
        } else if !id.is_empty() && id != self.id {
            return None;
        }
        self.name = name_of(&self.name, &name, !self.arguments.is_empty())?;
        self.arguments.push_str(&arguments);
        for (name, value) in rest {
            if *self.rest.entry(name).or_insert_with(|| value.clone()) != value {
                return None;
            }
        }
        Some(())
    }

    /// What a program can carry out: it has a name and an id, and its arguments are JSON.
    fn finished(self, is_cut: bool) -> Option<Value> {
        let is_json =
            self.arguments.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok();
        if self.id.is_empty() || self.name.is_empty() || !(is_json || is_cut) {
            return None;
        }
        let mut call = self.rest;
        call.entry("type").or_insert_with(|| "function".into());
        call.insert("id".to_owned(), self.id.into());
        call.insert(
            "function".to_owned(),
            json!({"name": self.name, "arguments": self.arguments}),
        );
        Some(call.into())
    }
}
