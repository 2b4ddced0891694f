//! What parts of the gateway cost and save, from cases and variants of one run.

use super::Row;
use crate::{
    cases::Caching::{self, Bypass, Hit, Miss},
    load::Arrivals,
    measure::Target,
    table::Table,
    variant::Variant::{self, Redis, Standard, Uncached, Unjournalled},
};

/// What single parts cost or save: differences and ratios of medians of the run.
pub(super) fn parts(rows: &[Row], targets: &[Target]) -> Table {
    let mut table = Table::new("part | kind | figure");
    for streamed in [false, true] {
        let row = |variant: Variant, caching: Caching| {
            rows.iter().find(|row| {
                let case = row.case;
                targets[row.target].variant == Some(variant)
                    && (case.arrivals, case.caching, case.streamed) == (Arrivals::Closed, caching, streamed)
            })
        };
        let mut push = |part: &str, figure: Option<String>| {
            let kind = if streamed { "streamed" } else { "not streamed" };
            if let Some(figure) = figure {
                table.push(vec![part.to_owned(), kind.to_owned(), figure]);
            }
        };
        let micros = |more: Option<&Row>, less: Option<&Row>| {
            Some(format!("{:+.1} us CPU/request", more?.cpu_micros - less?.cpu_micros))
        };
        let times = |more: Option<&Row>, less: Option<&Row>| {
            Some(format!("{:.2} x the answers/s", more?.per_second / less?.per_second))
        };
        push(
            "a hit in memory, against a miss",
            times(row(Standard, Hit), row(Standard, Miss)),
        );
        push(
            "a hit in Redis, against a miss",
            times(row(Redis, Hit), row(Redis, Miss)),
        );
        push(
            "a miss, against the cache off",
            micros(row(Standard, Miss), row(Uncached, Miss)),
        );
        push("the journal", micros(row(Standard, Bypass), row(Unjournalled, Bypass)));
    }
    table
}
