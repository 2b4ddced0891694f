//! `[log]`: level and form of the log, which goes to standard output.

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{
    Environment,
    load::{
        check::Check,
        schema::{Field, Kind, Rule, optional, required},
    },
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A `tracing` filter: `info`, or `warn,mapleai::http=debug`.
    pub level: String,
    pub format: LogFormat,
    /// Absent means standard output.
    #[serde(default)]
    pub file: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person at a terminal.
    Pretty,
    /// One object a line, for a collector.
    Json,
}

pub(super) const FIELDS: &[Field] = &[
    required(
        "level",
        Kind::Text(Rule {
            allowed: "error, warn, info, debug, trace or off, and more as <target>=<level>, such as \"warn,mapleai::http=info\"",
            holds: |level| parse_filter(level).is_some(),
        }),
    ),
    required("format", Kind::Choice(&["pretty", "json"])),
    optional(
        "file",
        Kind::Text(Rule {
            allowed: "the path of a file, such as \"logs/mapleai.log\"",
            holds: |path| !path.is_empty() && !path.ends_with('/') && !path.contains('\0'),
        }),
    ),
];

/// What is told at every level: who signed in, was refused or changed what others may do; and the phases of start and stop.
const ALWAYS: [&str; 2] = ["mapleai::security", "mapleai::lifecycle"];

/// Only told where the operator names it: what a server says on each connection that it ends, once for every connection. The
/// failure that follows is told as such.
const UNLESS_NAMED: &str = "sqlx::postgres::notice";

/// `tracing` takes a lone word for a target to log everything of, so that a misspelt level would open the flood gates.
pub fn parse_filter(level: &str) -> Option<EnvFilter> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let directives: Vec<&str> = level.split(',').map(str::trim).collect();
    let plausible = directives
        .iter()
        .all(|directive| directive.contains('=') || LEVELS.contains(directive));
    if !plausible {
        return None;
    }
    let mut filter = EnvFilter::try_new(directives.join(",")).ok()?;
    // Only now is each known to be one.
    if directives.iter().any(|directive| is_verbose(directive)) {
        let ours: Vec<String> = directives.iter().copied().flat_map(for_our_parts).collect();
        filter = EnvFilter::try_new(ours.join(",")).ok()?;
    }
    for always in ALWAYS {
        // Not where the operator names the target: `mapleai::lifecycle=debug` is more.
        if !directives.iter().any(|directive| directive.starts_with(always)) {
            filter = filter.add_directive(format!("{always}=info").parse().ok()?);
        }
    }
    if !directives.iter().any(|directive| directive.starts_with("sqlx")) {
        filter = filter.add_directive(format!("{UNLESS_NAMED}=off").parse().ok()?);
    }
    Some(filter)
}

fn is_verbose(directive: &str) -> bool {
    directive.ends_with("debug") || directive.ends_with("trace")
}

/// What is below `info` is told of MapleAI's own parts alone. Libraries log what they work on there: an HTML parser each text of
/// an answer, a client of Redis what it stores.
fn for_our_parts(directive: &str) -> Vec<String> {
    if !is_verbose(directive) {
        return vec![directive.to_owned()];
    }
    match directive.split_once('=') {
        None => vec!["info".to_owned(), format!("mapleai={directive}")],
        Some((target, level)) => {
            let (name, span) = target.split_at(target.find('[').unwrap_or(target.len()));
            if name == "mapleai" || name.starts_with("mapleai::") || name.starts_with("mapleai_") {
                vec![directive.to_owned()]
            } else if name.is_empty() {
                vec![format!("mapleai{span}={level}")]
            } else {
                vec![format!("{target}=info")]
            }
        }
    }
}

/// Whether a filter tells more than `info` of anything; for one that [`parse_filter`] takes.
pub fn tells_details(level: &str) -> bool {
    let filter = parse_filter(level).and_then(|filter| filter.max_level_hint());
    filter.is_some_and(|max| max > LevelFilter::INFO)
}

impl LogConfig {
    /// The filter that `level` describes; nothing only for a level that loading would have refused.
    pub fn filter(&self) -> Option<EnvFilter> {
        parse_filter(&self.level)
    }

    pub(super) fn validate(&self, check: &mut Check) {
        if tells_details(&self.level) && check.environment() == Environment::Production {
            check.refuse(
                ["log", "level"],
                "must not include debug or trace in production: they cost time and may show data",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{for_our_parts, parse_filter, tells_details};

    #[test]
    fn details_are_told_of_our_own_parts_alone() {
        for (given, taken) in [
            ("trace", vec!["info", "mapleai=trace"]),
            ("warn", vec!["warn"]),
            ("mapleai::http=debug", vec!["mapleai::http=debug"]),
            ("html5ever=trace", vec!["html5ever=info"]),
            ("mapleaix=trace", vec!["mapleaix=info"]),
            ("redis[pipeline]=debug", vec!["redis[pipeline]=info"]),
            ("[request]=debug", vec!["mapleai[request]=debug"]),
            ("hyper=error", vec!["hyper=error"]),
        ] {
            assert_eq!(for_our_parts(given), taken, "{given}");
        }
        assert!(tells_details("info,mapleai::http=debug") && !tells_details("info,html5ever=trace"));
    }

    #[test]
    fn filters() {
        for good in [
            "info",
            "warn,mapleai::http=debug",
            "off",
            "info, hyper=error",
            "warn,[request]=debug",
        ] {
            assert!(parse_filter(good).is_some(), "{good}");
        }
        for bad in ["", "wrn", "mapleai", "warn,", "warn,mapleai=loud", "warn;info"] {
            assert!(parse_filter(bad).is_none(), "{bad}");
        }
    }
}
