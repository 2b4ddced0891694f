//! Which path of `/v1` was meant by one that there is not. Base URLs are typed by people: with a stroke at the end, with `/v1` twice, or
//! without it (open-webui #16749, BerriAI/litellm #8350).

/// The paths, by the words behind `/v1`.
const PATHS: [(&[&str], &str); 3] = [
    (&["chat", "completions"], "/v1/chat/completions"),
    (&["embeddings"], "/v1/embeddings"),
    (&["models"], "/v1/models"),
];

/// The path that ends as this one does but for empty words and `v1`.
pub(super) fn meant(path: &str) -> Option<&'static str> {
    let mut words = path.rsplit('/').filter(|word| !word.is_empty() && *word != "v1");
    let (last, before) = (words.next()?, words.next());
    PATHS.into_iter().find_map(|(wanted, meant)| match wanted {
        [one] => (*one == last).then_some(meant),
        [one, two] => (Some(*one) == before && *two == last).then_some(meant),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{PATHS, meant};

    #[test]
    fn paths_with_too_much_or_too_little_are_known() {
        for (path, expected) in [
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("//v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/v1/chat/completions", "/v1/chat/completions"),
            ("/openai/v1//embeddings", "/v1/embeddings"),
            ("/models/", "/v1/models"),
        ] {
            assert_eq!(meant(path), Some(expected), "{path}");
        }
        for path in ["/", "", "/v1", "/completions", "/sign-in", "/models/x"] {
            assert_eq!(meant(path), None, "{path}");
        }
        assert!(
            PATHS
                .iter()
                .all(|(words, path)| format!("/v1/{}", words.join("/")) == *path)
        );
    }
}
