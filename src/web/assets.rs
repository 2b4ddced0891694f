//! Static files, embedded in the binary and named by their contents, so that browsers may keep them for ever.
//!
//! In debug builds they are read from disk for every request, so that an edit shows on reload.

use std::borrow::Cow;

use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// A file to serve.
pub struct Asset {
    pub content: Cow<'static, [u8]>,
    pub content_type: String,
}

/// Hex digits of the hash that go into a name.
const HASH_DIGITS: usize = 16;

/// Where a file is served: `app.css` -> `/assets/app.3f2a....css`. A name that does not exist leads nowhere.
pub fn url(name: &str) -> String {
    match Files::get(name) {
        Some(file) => format!("/assets/{}", hashed(name, &file)),
        None => format!("/assets/{name}"),
    }
}

/// The file behind a hashed name, if its contents are still those.
pub fn find(hashed_name: &str) -> Option<Asset> {
    let (rest, extension) = hashed_name.rsplit_once('.')?;
    let (stem, _) = rest.rsplit_once('.')?;
    let name = format!("{stem}.{extension}");
    let file = Files::get(&name)?;
    if hashed(&name, &file) != hashed_name {
        return None;
    }
    let mime = mime_guess::from_path(&name).first_or_octet_stream();
    let content_type = if mime.type_() == "text" {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_string()
    };
    Some(Asset {
        content: file.data,
        content_type,
    })
}

fn hashed(name: &str, file: &EmbeddedFile) -> String {
    let hash = hex::encode(file.metadata.sha256_hash());
    let hash = &hash[..HASH_DIGITS];
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{hash}.{extension}"),
        None => format!("{name}.{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, url};

    #[test]
    fn a_url_leads_to_its_file_and_an_old_one_nowhere() {
        let css = url("app.css");
        let name = css.strip_prefix("/assets/").unwrap();
        assert_eq!(find(name).unwrap().content_type, "text/css; charset=utf-8");
        assert!(find("app.0000000000000000.css").is_none());
        for bad in ["app.css", "../Cargo.toml", "", ".", "a.b.c.d"] {
            assert!(find(bad).is_none(), "{bad}");
        }
    }
}
