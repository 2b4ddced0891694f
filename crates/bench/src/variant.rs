//! One build, set up in more than one way, so that what a part of it costs can be told from the rest within one run.

use crate::{
    cases::{Caching, Case},
    load::Arrivals,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// As in production.
    Standard,
    /// With Redis as the only cache of answers.
    Redis,
    /// With no cache of answers.
    Uncached,
    /// With no usage journal.
    Unjournalled,
}

impl Variant {
    /// What follows the build's name in tables and files.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Standard => "",
            Self::Redis => "-redis",
            Self::Uncached => "-uncached",
            Self::Unjournalled => "-unjournalled",
        }
    }

    /// Settings in place of those of production.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Standard => &[],
            Self::Redis => &[("MAPLE__CACHE__ANSWER_MEMORY_BYTES", "0")],
            Self::Uncached => &[("MAPLE__CACHE__ANSWERS", "off")],
            Self::Unjournalled => &[("MAPLE__USAGE__JOURNAL_DIR", "")],
        }
    }

    /// Whether the case tells anything about it.
    pub(crate) fn is_measured(self, case: Case) -> bool {
        let closed = case.arrivals == Arrivals::Closed;
        match self {
            Self::Standard => true,
            Self::Redis => case.caching != Caching::Bypass,
            Self::Uncached => closed && case.caching == Caching::Miss,
            Self::Unjournalled => closed && case.caching == Caching::Bypass,
        }
    }

    /// What the answers of a case should say in `x-maple-cache`.
    pub(crate) fn expects(self, case: Caching) -> &'static str {
        match (self, case) {
            (Self::Uncached, _) | (_, Caching::Bypass) => "bypass",
            (_, Caching::Hit) => "hit",
            (_, Caching::Miss) => "miss",
        }
    }
}
