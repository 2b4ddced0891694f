//! Static files, embedded in the binary and named by their contents, so that browsers may keep them for ever.
//!
//! A script names the modules that it imports by their plain names (`import ... from "./api.js"`); here those become the hashed
//! ones, so that a change of a module changes the name of whatever imports it. There is no other build step.
//!
//! In debug builds files are read from disk for every request, so that an edit shows on reload.

use std::{
    collections::HashMap,
    io::Write as _,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

use crypto::secret::sha256;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// A file to serve.
pub struct Asset {
    pub content: Variants,
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

/// A text in all its encodings. Absent where nothing would be gained.
#[derive(Clone)]
pub struct Variants {
    plain: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
}

/// By hashed name, made once for each: compressing well takes longer than serving. There are only as many as there are files,
/// and in development one more for each edit.
static COMPRESSED: LazyLock<Mutex<HashMap<String, Variants>>> = LazyLock::new(Mutex::default);

/// A file as it is served, before it is compressed.
#[derive(Clone)]
struct Built {
    hashed_name: String,
    content: Bytes,
}

/// Every file, where they cannot change.
static BUILT: LazyLock<HashMap<String, Built>> = LazyLock::new(|| {
    Files::iter()
        .filter_map(|name| Some((name.to_string(), build(&name, MAX_IMPORT_DEPTH)?)))
        .collect()
});

/// Modules that import modules: so many in a row at most, which also ends a circle.
const MAX_IMPORT_DEPTH: u8 = 8;

impl Variants {
    /// Compresses a text well, which takes longer than serving it.
    pub fn of(content: &[u8]) -> Self {
        compress(&Bytes::copy_from_slice(content), &EFFORT)
    }

    /// The best of `accepted`, or the text as it is.
    pub fn best(&self, accepted: &[Encoding]) -> (Option<Encoding>, Bytes) {
        accepted
            .iter()
            .find_map(|encoding| {
                let bytes = match encoding {
                    Encoding::Brotli => self.brotli.as_ref(),
                    Encoding::Gzip => self.gzip.as_ref(),
                }?;
                Some((Some(*encoding), bytes.clone()))
            })
            .unwrap_or_else(|| (None, self.plain.clone()))
    }
}

/// Compresses every file, so that nobody's request has to. Takes a moment.
pub fn prepare() {
    for name in Files::iter() {
        if let Some(file) = built(&name) {
            variants(&file);
        }
    }
}

fn built(name: &str) -> Option<Built> {
    if cfg!(debug_assertions) {
        build(name, MAX_IMPORT_DEPTH)
    } else {
        BUILT.get(name).cloned()
    }
}

fn build(name: &str, chain: u8) -> Option<Built> {
    let file = Files::get(name)?;
    let is_script = Path::new(name).extension().is_some_and(|extension| extension == "js");
    let content = match (is_script, std::str::from_utf8(&file.data)) {
        (true, Ok(script)) => Bytes::from(with_imports(script, chain.checked_sub(1)?)?),
        _ => Bytes::from(file.data.into_owned()),
    };
    let hash = hex::encode(sha256(&content));
    let hash = &hash[..HASH_DIGITS];
    let hashed_name = match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{hash}.{extension}"),
        None => format!("{name}.{hash}"),
    };
    Some(Built { hashed_name, content })
}

/// The script with the hashed names of what it imports.
fn with_imports(script: &str, chain: u8) -> Option<String> {
    let mut parts = script.split(" from \"./");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('"')?;
        text.push_str(" from \"./");
        text.push_str(&build(name, chain)?.hashed_name);
        text.push('"');
        text.push_str(rest);
    }
    Some(text)
}

fn variants(file: &Built) -> Variants {
    let compressed = COMPRESSED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&file.hashed_name)
        .cloned();
    compressed.unwrap_or_else(|| {
        let made = compress(&file.content, &EFFORT);
        COMPRESSED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(file.hashed_name.clone(), made.clone());
        made
    })
}

/// An unoptimised build takes as long for the best of the OpenAPI document as for the rest of a server's start, and tests start hundreds.
const EFFORT: Effort = if cfg!(debug_assertions) {
    Effort { brotli: 2, gzip: 1 }
} else {
    BEST
};
const BEST: Effort = Effort { brotli: 9, gzip: 9 };

/// How hard is tried: the quality of brotli and the level of gzip.
struct Effort {
    brotli: i32,
    gzip: u32,
}

fn compress(content: &Bytes, effort: &Effort) -> Variants {
    let smaller = |packed: Vec<u8>| (packed.len() < content.len()).then(|| Bytes::from(packed));
    let mut brotli = Vec::new();
    // The window spans the largest asset; the default of 4 MiB would leave its buffers in the process's memory for good.
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: effort.brotli,
        lgwin: 17,
        size_hint: content.len(),
        ..Default::default()
    };
    let brotli = brotli::BrotliCompress(&mut &content[..], &mut brotli, &parameters)
        .ok()
        .map(|_| brotli);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(effort.gzip));
    let gzip = gzip.write_all(content).and_then(|()| gzip.finish()).ok();
    Variants {
        plain: content.clone(),
        brotli: brotli.and_then(smaller),
        gzip: gzip.and_then(smaller),
    }
}

/// Hex digits of the hash that go into a name.
const HASH_DIGITS: usize = 16;

/// Where a file is served: `app.css` -> `/assets/app.3f2a....css`. A name that does not exist leads nowhere.
pub fn url(name: &str) -> String {
    match built(name) {
        Some(file) => format!("/assets/{}", file.hashed_name),
        None => format!("/assets/{name}"),
    }
}

/// The file behind a hashed name, if its contents are still those.
pub fn find(hashed_name: &str) -> Option<Asset> {
    let (rest, extension) = hashed_name.rsplit_once('.')?;
    let (stem, _) = rest.rsplit_once('.')?;
    let name = format!("{stem}.{extension}");
    let file = built(&name)?;
    if file.hashed_name != hashed_name {
        return None;
    }
    let mime = mime_guess::from_path(&name).first_or_octet_stream();
    let content_type = if mime.type_() == "text" {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_string()
    };
    Some(Asset {
        content: variants(&file),
        content_type,
    })
}

#[cfg(test)]
mod tests {
    use super::{Files, MAX_IMPORT_DEPTH, build, find, url};

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

    #[test]
    fn every_import_leads_to_the_file_it_means() {
        let mut imports = 0;
        for name in Files::iter() {
            let file = build(&name, MAX_IMPORT_DEPTH)
                .unwrap_or_else(|| panic!("{name} imports in a circle, or what is not there"));
            if !name.ends_with(".js") {
                continue;
            }
            let script = std::str::from_utf8(&file.content).unwrap();
            for import in script.split(" from \"./").skip(1) {
                let imported = import.split('"').next().unwrap();
                assert!(find(imported).is_some(), "{name} imports {imported}");
                imports += 1;
            }
        }
        assert!(imports > 0);
    }

    /// What all pages together cost a first visit, as a release sends it: a limit to argue about, not to creep past.
    #[test]
    fn what_browsers_load_stays_small() {
        let packed = |extension: &str| -> usize {
            let files = Files::iter().filter(|name| name.ends_with(extension));
            files
                .map(|name| {
                    let name = url(&name);
                    let asset = find(name.strip_prefix("/assets/").unwrap()).unwrap();
                    let packed = super::compress(&asset.content.plain, &super::BEST);
                    packed.best(&super::Encoding::ALL).1.len()
                })
                .sum()
        };
        assert!(packed(".js") <= 25_000, "{}", packed(".js"));
        assert!(packed(".css") <= 8_000, "{}", packed(".css"));
    }
}
