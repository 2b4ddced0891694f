//! Static files, embedded in the binary and named by their contents, so that browsers may keep them for ever.
//!
//! In debug builds they are read from disk for every request, so that an edit shows on reload.

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// A file to serve.
pub struct Asset {
    variants: Variants,
    pub content_type: String,
}

/// What a file can be compressed with beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    /// The smallest result first.
    pub const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// As headers name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// A file in all its encodings. Absent where nothing would be gained.
#[derive(Clone)]
struct Variants {
    plain: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
}

/// Made once for each content: compressing well takes longer than serving. There are only as many as there are files, and
/// in development one more for each edit.
static COMPRESSED: LazyLock<Mutex<HashMap<[u8; 32], Variants>>> = LazyLock::new(Mutex::default);

impl Asset {
    /// The best of `accepted`, or the file as it is.
    pub fn content(&self, accepted: &[Encoding]) -> (Option<Encoding>, Bytes) {
        let variants = &self.variants;
        accepted
            .iter()
            .find_map(|encoding| {
                let bytes = match encoding {
                    Encoding::Brotli => variants.brotli.as_ref(),
                    Encoding::Gzip => variants.gzip.as_ref(),
                }?;
                Some((Some(*encoding), bytes.clone()))
            })
            .unwrap_or_else(|| (None, variants.plain.clone()))
    }
}

/// Compresses every file, so that nobody's request has to. Takes a moment.
pub fn prepare() {
    for name in Files::iter() {
        if let Some(file) = Files::get(&name) {
            variants(&file);
        }
    }
}

fn variants(file: &EmbeddedFile) -> Variants {
    let hash = file.metadata.sha256_hash();
    let known = COMPRESSED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&hash)
        .cloned();
    known.unwrap_or_else(|| {
        let made = compress(&file.data);
        COMPRESSED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(hash, made.clone());
        made
    })
}

fn compress(content: &[u8]) -> Variants {
    let smaller = |packed: Vec<u8>| (packed.len() < content.len()).then(|| Bytes::from(packed));
    let mut brotli = Vec::new();
    // The window spans the largest asset; the default of 4 MiB would leave its buffers in the process's memory for good.
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: 9,
        lgwin: 17,
        size_hint: content.len(),
        ..Default::default()
    };
    let brotli = brotli::BrotliCompress(&mut &*content, &mut brotli, &parameters)
        .ok()
        .map(|_| brotli);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let gzip = gzip.write_all(content).and_then(|()| gzip.finish()).ok();
    Variants {
        plain: Bytes::copy_from_slice(content),
        brotli: brotli.and_then(smaller),
        gzip: gzip.and_then(smaller),
    }
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
        variants: variants(&file),
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
