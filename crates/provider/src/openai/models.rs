//! Lists of models, in the shapes that servers give them.

use serde_json::Value;

/// The ids of a list: OpenAI's object, one with `models`, or a bare list; its entries objects or texts. What is no entry is left
/// out. `None` if it is no list at all, as while a server is still loading.
pub(super) fn ids_of(body: &[u8]) -> Option<Vec<String>> {
    let entries = match serde_json::from_slice(body).ok()? {
        Value::Array(entries) => entries,
        Value::Object(mut object) => ["data", "models"].iter().find_map(|name| match object.remove(*name) {
            Some(Value::Array(entries)) => Some(entries),
            _ => None,
        })?,
        _ => return None,
    };
    Some(entries.into_iter().filter_map(id_of).collect())
}

fn id_of(entry: Value) -> Option<String> {
    match entry {
        Value::String(id) => Some(id),
        Value::Object(mut object) => ["id", "model", "name"]
            .iter()
            .find_map(|name| match object.remove(*name) {
                Some(Value::String(id)) => Some(id),
                _ => None,
            }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn lists_are_read_in_every_shape() {
        for list in [
            r#"{"object":"list","data":[{"id":"a","owned_by":"x"},{"id":"b"}]}"#,
            r#"[{"id":"a"},{"id":"b"}]"#,
            r#"["a","b"]"#,
            r#"{"models":[{"name":"a","model":"a"},{"id":"b"}]}"#,
            r#"{"data":null,"models":["a","b"]}"#,
            r#"{"data":[{"id":"a"},{"object":"model"},7,null,{"id":7},{"id":"b"}]}"#,
        ] {
            assert_eq!(ids_of(list.as_bytes()).unwrap(), ["a", "b"], "{list}");
        }
        assert_eq!(ids_of(br#"{"data":[]}"#), Some(Vec::new()));
        for other in [r#"{"data":null}"#, "{}", "7", "null", "<html>", ""] {
            assert_eq!(ids_of(other.as_bytes()), None, "{other}");
        }
    }
}
