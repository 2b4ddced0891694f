//! Usage as rows and as a chart.

use crate::{
    domain::usage::UsageTotals,
    service::usage::UsageReport,
    web::views::{Bar, UsageRow},
};

/// The chart's view box.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 80.0;
const GAP: f64 = 2.0;
/// A day with anything at all is visible.
const LOWEST: f64 = 2.0;

pub(super) fn row(name: String, totals: UsageTotals) -> UsageRow {
    UsageRow {
        name,
        requests: totals.requests,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        cost: totals.cost.to_string(),
    }
}

/// One bar for each day of the report, those without usage included.
pub(super) fn bars(report: &UsageReport) -> Vec<Bar> {
    let days: Vec<_> = report.from.iter_days().take_while(|day| *day <= report.to).collect();
    let most = report
        .by_day
        .values()
        .map(|totals| totals.requests)
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let step = WIDTH / days.len() as f64;
    days.iter()
        .enumerate()
        .map(|(index, day)| {
            let requests = report.by_day.get(day).map_or(0, |totals| totals.requests);
            let height = if requests == 0 {
                0.0
            } else {
                (requests as f64 / most * (HEIGHT - 8.0)).max(LOWEST)
            };
            Bar {
                x: index as f64 * step + GAP / 2.0,
                y: HEIGHT - height,
                width: step - GAP,
                height,
                label: format!("{day}: {requests}"),
            }
        })
        .collect()
}
