//! `mapleai cache`: asks the instance that runs with this configuration, by its operations listener.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use clap::Subcommand;
use http::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    CliError,
    client::{exchange, here},
};
use configuration::{Config, load::Sources};

const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Subcommand)]
pub(super) enum CacheCommand {
    /// What the running instance remembers, by class
    Stats {
        /// As one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make all instances forget; takes server.ops_token
    Purge {
        /// One class, as `stats` names them; all if not said
        #[arg(long)]
        class: Option<String>,
        /// The id of one organisation; all if not said
        #[arg(long)]
        org: Option<uuid::Uuid>,
    },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CacheCliError {
    #[error("server.ops_addr is not set, so no instance listens for operators")]
    NoListener,
    #[error("server.ops_token is not set, which purging takes")]
    NoToken,
    #[error("no instance answers at {address}")]
    Unreachable {
        address: SocketAddr,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the instance at {0} did not answer within {LIMIT:?}")]
    Slow(SocketAddr),
    #[error("refused with {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
}

pub(super) fn run(sources: &Sources, command: &CacheCommand) -> Result<(), CliError> {
    let config = Config::load(sources)?;
    let address = here(config.server.ops_addr.ok_or(CacheCliError::NoListener)?);
    let token = config.server.ops_token.as_ref();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let text = match command {
        CacheCommand::Stats { json } => {
            let stats = runtime.block_on(ask(address, Method::GET, "/cache", token, Bytes::new()))?;
            if *json { format!("{stats:#}\n") } else { table(&stats) }
        }
        CacheCommand::Purge { class, org } => {
            let token = Some(token.ok_or(CacheCliError::NoToken)?);
            let body = json!({"class": class, "organization": org}).to_string();
            let purged = runtime.block_on(ask(address, Method::POST, "/cache/purge", token, body.into()))?;
            if purged["forgotten_by"] == "this_instance" {
                "Forgotten, by this instance; without Redis no other can be told\n".to_owned()
            } else {
                "Forgotten, by every instance\n".to_owned()
            }
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)
}

async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&SecretString>,
    body: Bytes,
) -> Result<Value, CacheCliError> {
    let asking = exchange(address, method, path, token, body);
    let (status, body) = match tokio::time::timeout(LIMIT, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(source)) => return Err(CacheCliError::Unreachable { address, source }),
        Err(_) => return Err(CacheCliError::Slow(address)),
    };
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(answer);
    }
    let faults = answer["errors"].as_array().into_iter().flatten();
    let mut detail = answer["detail"].as_str().unwrap_or("no reason given").to_owned();
    for fault in faults {
        let part = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
        detail.extend([" ", &part("field"), " ", &part("message"), "."]);
    }
    Err(CacheCliError::Refused { status, detail })
}

fn table(stats: &Value) -> String {
    let heard = if stats["hears_others"] == true {
        "heard"
    } else {
        "not heard"
    };
    let redis = stats["redis"].as_str().unwrap_or("?");
    let mut lines = vec![format!("Redis: {redis}; other instances are {heard}")];
    lines.push(line(
        ["class", "entries", "bytes", "hits", "misses", "evictions"].map(str::to_owned),
    ));
    for class in stats["classes"].as_array().into_iter().flatten() {
        let figure = |name: &str| class[name].as_u64().unwrap_or_default().to_string();
        let name = class["class"].as_str().unwrap_or("?").to_owned();
        lines.push(line([
            name,
            figure("entries"),
            figure("bytes"),
            figure("hits"),
            figure("misses"),
            figure("evictions"),
        ]));
    }
    lines.join("\n") + "\n"
}

fn line([class, entries, bytes, hits, misses, evictions]: [String; 6]) -> String {
    format!("{class:<14} {entries:>10} {bytes:>12} {hits:>12} {misses:>12} {evictions:>12}")
}

#[cfg(test)]
mod tests {
    use super::table;
    use serde_json::json;

    #[test]
    fn a_line_for_each_class() {
        let text = table(&json!({"redis": "up", "hears_others": true,
            "classes": [{"class": "answer", "entries": 3, "bytes": 4096, "hits": 10, "misses": 5, "evictions": 7}]}));
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("answer                  3         4096           10            5            7"),
            "{text}"
        );
    }
}
