//! The members of a request for a vendor whose API is another one, which reads them to convert them. No other vendor pays for that.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BadRequest, fields, unquote};
use crate::canonical::Member;

/// What a member of an unexpected type is refused with: the one who sent it has OpenAI's documentation.
const AS_DOCUMENTED: &str = "the type that OpenAI's API has for it";

/// All members of a request, raw.
#[derive(Debug)]
pub struct Members<'a>(Vec<Member<'a>>);

/// One message of a conversation.
#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    /// A text, a list of parts, or nothing beside calls of tools.
    #[serde(borrow, default)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub tool_calls: Option<&'a RawValue>,
    /// Of a tool's result: the call that it answers.
    #[serde(borrow, default)]
    pub tool_call_id: Option<Cow<'a, str>>,
}

impl<'a> Members<'a> {
    pub fn read(body: &'a [u8]) -> Result<Self, BadRequest> {
        let found = fields::read(std::str::from_utf8(body)?, &[]).map_err(BadRequest::Json)?;
        found.members.map(Self).ok_or(BadRequest::WrongType {
            param: "body",
            expected: "an object with fewer members",
        })
    }

    /// The names of all, so that a vendor can refuse what it cannot convert.
    pub fn names(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.iter().filter_map(|member| unquote(member.name))
    }

    /// The value of this name; none if it is absent or `null`. Of a name that comes twice the last one holds.
    pub fn get<T: Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, BadRequest> {
        let is_named = |member: &&Member<'a>| unquote(member.name).is_some_and(|plain| plain == name);
        let member = self.0.iter().rev().find(is_named);
        member
            .map_or(Ok(None), |member| serde_json::from_str(member.value))
            .map_err(|_| BadRequest::WrongType {
                param: name,
                expected: AS_DOCUMENTED,
            })
    }

    pub fn messages(&self) -> Result<Vec<Message<'a>>, BadRequest> {
        self.get("messages")?.ok_or(BadRequest::Missing("messages"))
    }
}

impl Message<'_> {
    /// All of its text. It is refused if something else is in it, such as a picture.
    pub fn text(&self) -> Result<String, BadRequest> {
        #[derive(Deserialize)]
        struct Part {
            text: String,
        }
        let raw = self.content.map_or("\"\"", RawValue::get);
        let parts = || serde_json::from_str::<Vec<Part>>(raw).ok();
        let joined = || Some(parts()?.into_iter().map(|part| part.text).collect());
        serde_json::from_str(raw)
            .ok()
            .or_else(joined)
            .ok_or(BadRequest::WrongType {
                param: "messages",
                expected: "messages of text alone",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{BadRequest, Members};

    #[test]
    fn members_are_read_by_name_and_messages_as_such() {
        let body = br#"{"model":"m", "max_tok\u0065ns":7, "top_p":null, "n":1, "n":2, "messages":[
            {"role":"system","content":"Be \"brief\"."},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
            {"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}, {"role":"tool","tool_call_id":"1","content":"c"}]}"#;
        let members = Members::read(body).unwrap();
        assert_eq!(members.get::<u32>("max_tokens").unwrap(), Some(7));
        assert_eq!(members.get::<f64>("top_p").unwrap(), None);
        assert_eq!(members.get::<f64>("temperature").unwrap(), None);
        assert_eq!(members.get::<u32>("n").unwrap(), Some(2));
        assert!(matches!(
            members.get::<u32>("model"),
            Err(BadRequest::WrongType { param: "model", .. })
        ));
        assert_eq!(members.names().nth(1).as_deref(), Some("max_tokens"));
        let messages = members.messages().unwrap();
        let texts: Vec<_> = messages.iter().map(|message| message.text().ok()).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts, [text("Be \"brief\"."), text("ab"), None, text(""), text("c")]);
        assert!(messages[3].tool_calls.is_some() && messages[4].tool_call_id.as_deref() == Some("1"));
        let none = Members::read(b"{}").unwrap();
        assert!(matches!(none.messages(), Err(BadRequest::Missing("messages"))));
        assert!(Members::read(b"[]").is_err() && Members::read(b"{\"a\":\xff}").is_err());
    }
}
