//! Each build against each other proxy in the same case: what stays comparable when the machine's speed does not.

use super::Row;
use crate::{load::Arrivals, measure::Target, table::Table};

pub(super) fn ratios(rows: &[Row], targets: &[Target]) -> Table {
    let mut table = Table::new("case | way | against | answers/s % | answers per core-second % | added p50 %");
    let is_proxy = |row: &&Row| targets[row.target].variant.is_none() && targets[row.target].pid.is_some();
    for build in rows.iter().filter(|row| targets[row.target].variant.is_some()) {
        let same_case = rows.iter().filter(|row| row.case == build.case);
        for other in same_case.filter(is_proxy) {
            let closed = build.case.arrivals == Arrivals::Closed;
            let percent = |applies: bool, of: f64, whole: f64| {
                if applies && of > 0.0 && whole > 0.0 {
                    format!("{:.0}", 100.0 * of / whole)
                } else {
                    "-".to_owned()
                }
            };
            table.push(vec![
                build.case.title(),
                targets[build.target].name.clone(),
                targets[other.target].name.clone(),
                // In open loop both have the rate that was asked for.
                percent(closed, build.per_second, other.per_second),
                percent(true, build.per_core_second(), other.per_core_second()),
                percent(!closed, build.added_p50, other.added_p50),
            ]);
        }
    }
    table
}
