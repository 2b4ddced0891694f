//! Values in files, as platforms mount secrets: `DATABASE_URL_FILE=/run/secrets/url` stands for `DATABASE_URL` with what is
//! in the file, and wins over it. The same for every `MAPLE__…` variable.
//!
//! [`app::rotation`](crate::app::rotation) reads them again while the service runs.

use std::{fs, io::Read as _};

const SUFFIX: &str = "_FILE";
/// Plain names that may come from a file; others of these names belong to other programs.
const PLAIN: [&str; 3] = ["DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY"];
/// A key whose own name ends so: what it names is read by whoever uses it.
const KEY: &str = "MAPLE__REDIS__CA_FILE";
/// The same of every provider.
const PROVIDERS_KEY: (&str, &str) = ("MAPLE__PROVIDERS__", "__STATE_FILE");
/// No secret is longer, and a device file must not fill the memory.
const LARGEST: u64 = 64 * 1024;

/// The variable whose value is in the file that `name` names. `MAPLE__LOG__FILE` is a key of its own, `log.file`, and so are
/// [`KEY`] and [`PROVIDERS_KEY`].
pub(super) fn stands_for(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(SUFFIX)?;
    let (section, key) = PROVIDERS_KEY;
    let is_key = name == KEY || (name.starts_with(section) && name.ends_with(key));
    let ours = PLAIN.contains(&stem) || (stem.starts_with("MAPLE__") && !stem.ends_with('_') && !is_key);
    ours.then_some(stem)
}

/// A line break at the end is an editor's, not the secret's. What cannot be read is a fault: going on with an older secret
/// would hide it.
pub(super) fn content(path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("is too large; a value takes at most {LARGEST} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "must be valid UTF-8".to_owned())?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::stands_for;

    #[test]
    fn a_file_s_variable_is_told_from_a_key_named_file() {
        assert_eq!(stands_for("DATABASE_URL_FILE"), Some("DATABASE_URL"));
        assert_eq!(
            stands_for("MAPLE__AUTH__SIGNING_KEYS__K1_FILE"),
            Some("MAPLE__AUTH__SIGNING_KEYS__K1")
        );
        for other in [
            "MAPLE__LOG__FILE",
            "MAPLE__REDIS__CA_FILE",
            "MAPLE__PROVIDERS__LOCAL__STATE_FILE",
            "SSL_CERT_FILE",
            "PORT_FILE",
            "MAPLE__AUTH__ACTIVE_KEY",
        ] {
            assert_eq!(stands_for(other), None, "{other}");
        }
    }
}
