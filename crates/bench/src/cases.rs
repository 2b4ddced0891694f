//! The matrix of what is measured.

use crate::{error::BenchError, load::Arrivals};

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) streamed: bool,
    pub(crate) arrivals: Arrivals,
    pub(crate) caching: Caching,
}

/// What the gateway's cache can do for the requests of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// They ask for no repeatable answer.
    Bypass,
    /// All are equal.
    Hit,
    /// Each is another one, and its answer is remembered.
    Miss,
}

const ARRIVALS: [(&str, Arrivals); 3] = [
    ("open500", Arrivals::Open { per_second: 500 }),
    ("open2000", Arrivals::Open { per_second: 2_000 }),
    ("closed", Arrivals::Closed),
];
const KINDS: [(&str, bool); 2] = [("plain", false), ("stream", true)];
const CACHING: [(&str, Caching); 3] = [
    ("bypass", Caching::Bypass),
    ("hit", Caching::Hit),
    ("miss", Caching::Miss),
];

impl Case {
    /// Those that `only` names: `closed` keeps both kinds of it, `closed,stream` one, nothing keeps all.
    pub(crate) fn chosen(only: &[String]) -> Result<Vec<Self>, BenchError> {
        let allowed: Vec<&str> = ARRIVALS
            .iter()
            .map(|(name, _)| *name)
            .chain(KINDS.iter().map(|(name, _)| *name))
            .chain(CACHING.iter().map(|(name, _)| *name))
            .collect();
        if let Some(unknown) = only.iter().find(|name| !allowed.contains(&name.as_str())) {
            let allowed = allowed.join(", ");
            return Err(BenchError::Usage(format!("--only {unknown}: allowed are {allowed}")));
        }
        let names = |name: &str| only.iter().any(|chosen| chosen == name);
        let any_arrivals = !ARRIVALS.iter().any(|(name, _)| names(name));
        let any_kind = !KINDS.iter().any(|(name, _)| names(name));
        let any_caching = !CACHING.iter().any(|(name, _)| names(name));
        let mut cases = Vec::new();
        for (cache, caching) in CACHING {
            for (kind, streamed) in KINDS {
                for (name, arrivals) in ARRIVALS {
                    let kept = (any_caching || names(cache)) && (any_kind || names(kind));
                    if kept && (any_arrivals || names(name)) {
                        cases.push(Self {
                            streamed,
                            arrivals,
                            caching,
                        });
                    }
                }
            }
        }
        Ok(cases)
    }

    /// The name in files.
    pub(crate) fn id(self) -> String {
        let arrivals = ARRIVALS.iter().find(|(_, listed)| *listed == self.arrivals);
        let kind = if self.streamed { "stream" } else { "plain" };
        let cache = CACHING.iter().find(|(_, listed)| *listed == self.caching);
        let cache = cache.filter(|_| self.caching != Caching::Bypass);
        let cache = cache.map_or(String::new(), |(name, _)| format!("-{name}"));
        format!("{kind}-{}{cache}", arrivals.map_or("", |(name, _)| name))
    }

    /// The name in tables.
    pub(crate) fn title(self) -> String {
        let kind = if self.streamed {
            "streamed, 20 chunks"
        } else {
            "not streamed"
        };
        let kind = match self.caching {
            Caching::Bypass => kind.to_owned(),
            Caching::Hit => format!("{kind}, cache hit"),
            Caching::Miss => format!("{kind}, cache miss"),
        };
        match self.arrivals {
            Arrivals::Open { per_second } => format!("{kind}, open loop {per_second}/s"),
            Arrivals::Closed => format!("{kind}, closed loop, {} connections", crate::load::CONNECTIONS),
        }
    }
}
