//! Images, which are named by their digest: a tag may be another image tomorrow.

use crate::error::TaskError;

/// `name@sha256:digest`, in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image<'a> {
    pub(crate) name: &'a str,
    /// 64 hexadecimal digits.
    pub(crate) digest: &'a str,
}

impl<'a> Image<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, TaskError> {
        let is_of_a_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"./:_-".contains(&byte);
        let image = text
            .split_once("@sha256:")
            .map(|(name, digest)| Self { name, digest })
            .filter(|image| is_digest(image.digest) && !image.name.is_empty() && image.name.bytes().all(is_of_a_name))
            .ok_or_else(|| {
                TaskError::Refused(format!(
                    "'{text}' is no image by digest, such as registry.example/mapleai@sha256:<64 digits>"
                ))
            })?;
        if image.digest.bytes().all(|byte| byte == b'0') {
            return TaskError::refused(format!("'{text}' is the placeholder of the repository, not an image"));
        }
        Ok(image)
    }

    /// The digest's first digits: what people and the migration Job call it.
    pub(crate) fn short(&self) -> &'a str {
        &self.digest[..12]
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::Image;

    #[test]
    fn an_image_has_a_name_and_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("ghcr.io/maple/app@sha256:{digest}");
        let image = Image::parse(&text).unwrap();
        assert_eq!(
            (image.name, image.digest, image.short()),
            ("ghcr.io/maple/app", &*digest, "0123456789ab")
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        let digest = "1".repeat(64);
        for text in [
            String::new(),
            "app:latest".to_owned(),
            "app@sha256:12".to_owned(),
            format!("@sha256:{digest}"),
            format!("A@sha256:{digest}"),
            format!("a b@sha256:{digest}"),
            format!("app@sha256:{digest}0"),
            format!("app@sha256:{}", "G".repeat(64)),
        ] {
            let error = Image::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{text}' is no image by digest")), "{error}");
        }
        let placeholder = format!("app@sha256:{}", "0".repeat(64));
        assert!(
            Image::parse(&placeholder)
                .unwrap_err()
                .to_string()
                .contains("is the placeholder")
        );
    }
}
