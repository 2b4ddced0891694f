//! Where somebody goes after signing in: back to where it was asked for.
//!
//! Only to pages of ours that are written down here: a link to the sign-in page may come from anybody, and must not lead on
//! to wherever it likes.

use uuid::Uuid;

/// The page at this path, if it is one to come back to.
pub fn page(path: &str) -> Option<&str> {
    let is_page = match path.strip_prefix("/c/") {
        Some(id) => id.len() == 36 && Uuid::try_parse(id).is_ok(),
        None => matches!(path, "/keys" | "/settings"),
    };
    is_page.then_some(path)
}

/// The sign-in page that leads back to it.
pub fn sign_in_url(path: &str) -> Option<String> {
    let query = page(path)?.replace('/', "%2F");
    Some(format!("/sign-in?next={query}"))
}

#[cfg(test)]
mod tests {
    use super::{page, sign_in_url};

    #[test]
    fn leads_to_pages_of_ours_and_nowhere_else() {
        let conversation = "/c/0190a0a0-0000-7000-8000-000000000000";
        for is_page in ["/keys", "/settings", conversation] {
            assert_eq!(page(is_page), Some(is_page));
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/keys/../sign-out",
            "/c/",
            "/c/{0190a0a0-0000-7000-8000-000000000000}",
            "/c/0190a0a0-0000-7000-8000-000000000000/x",
            "/c/0190a0a00000700080000000000000000000",
            "/settings?done=role",
            "/sign-out",
        ] {
            assert_eq!(page(other), None, "{other}");
        }
        assert_eq!(sign_in_url("/keys").as_deref(), Some("/sign-in?next=%2Fkeys"));
    }
}
