//! Usage as rows and as a chart.

use crate::web::{
    figures::{grouped, money},
    views::{Bar, UsageDay, UsageRow, UsageView},
};
use domain::{ids::ApiKeyId, usage::UsageTotals};
use gateway::usage::UsageReport;

/// Of each table.
const LINES: usize = 50;

/// The chart's view box.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 80.0;
const GAP: f64 = 2.0;
/// A day with anything at all is visible.
const LOWEST: f64 = 2.0;

/// All of the report.
pub(super) fn view(report: UsageReport) -> UsageView {
    let key_name = |key: Option<ApiKeyId>, name: Option<String>| {
        let unnamed = if key.is_some() {
            "a key no longer known"
        } else {
            "the page"
        };
        name.unwrap_or_else(|| unnamed.to_owned())
    };
    let top = axis_top(report.by_day.values().map(|totals| totals.requests).max().unwrap_or(0));
    UsageView {
        bars: bars(&report, top),
        axis_top: grouped(top),
        // A half where the top is odd, which it is for 1 and 5 only.
        axis_middle: if top.is_multiple_of(2) {
            grouped(top / 2)
        } else {
            format!("{}.5", grouped(top / 2))
        },
        sentence: sentence(&report),
        days: days(&report),
        totals: row("All".to_owned(), report.totals),
        first_day: report.from.to_string(),
        last_day: report.to.to_string(),
        by_model: lines(report.by_model.into_iter()),
        by_key: lines(
            report
                .by_key
                .into_iter()
                .map(|(key, (name, totals))| (key_name(key, name), totals)),
        ),
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on: what an axis ends with.
fn axis_top(max: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for factor in [1, 2, 5] {
            let top = unit.saturating_mul(factor);
            if top >= max {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

fn sentence(report: &UsageReport) -> String {
    let all = grouped(report.totals.requests);
    let busiest = report.by_day.iter().max_by_key(|(_, totals)| totals.requests);
    match busiest {
        Some((day, totals)) if totals.requests > 0 => format!(
            "Requests by day from {} to {}: {all} in all, {} of them from the cache; most on {day}, {}",
            report.from,
            report.to,
            grouped(report.totals.cached_requests),
            grouped(totals.requests),
        ),
        _ => format!("Requests by day from {} to {}: none", report.from, report.to),
    }
}

fn days(report: &UsageReport) -> Vec<UsageDay> {
    let used = report.by_day.iter().filter(|(_, totals)| totals.requests > 0);
    let mut days: Vec<_> = used.collect();
    days.sort_by(|(one, _), (other, _)| other.cmp(one));
    days.into_iter()
        .map(|(day, totals)| UsageDay {
            day: day.to_string(),
            requests: grouped(totals.requests),
            cached: grouped(totals.cached_requests),
        })
        .collect()
}

/// The busiest, and the rest in one line, so that a page does not grow with the number of keys.
fn lines(rows: impl Iterator<Item = (String, UsageTotals)>) -> Vec<UsageRow> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|(one, a), (other, b)| b.requests.cmp(&a.requests).then_with(|| one.cmp(other)));
    let mut rest = UsageTotals::default();
    let others = rows.len().saturating_sub(LINES);
    for (_, totals) in rows.drain(rows.len() - others..) {
        rest += totals;
    }
    if others > 0 {
        rows.push((format!("{others} others"), rest));
    }
    rows.into_iter().map(|(name, totals)| row(name, totals)).collect()
}

fn row(name: String, totals: UsageTotals) -> UsageRow {
    UsageRow {
        name,
        requests: grouped(totals.requests),
        input_tokens: grouped(totals.input_tokens),
        output_tokens: grouped(totals.output_tokens),
        cost: money(totals.cost),
        from_cache: share(totals.cached_requests, totals.requests),
        saved: money(totals.saved),
    }
}

/// Whole percents; a share that is neither nothing nor all is never shown as if it were.
fn share(part: u64, whole: u64) -> String {
    let percent = match (u128::from(part) * 100).checked_div(u128::from(whole)) {
        None | Some(0) if part == 0 => 0,
        None | Some(0) => return "under 1 %".to_owned(),
        Some(percent) => percent,
    };
    format!("{percent} %")
}

/// One bar for each day of the report, those without usage included; `top` is as high as the chart.
fn bars(report: &UsageReport, top: u64) -> Vec<Bar> {
    let days: Vec<_> = report.from.iter_days().take_while(|day| *day <= report.to).collect();
    let step = WIDTH / days.len() as f64;
    days.iter()
        .enumerate()
        .map(|(index, day)| {
            let totals = report.by_day.get(day).copied().unwrap_or_default();
            let (requests, cached) = (totals.requests, totals.cached_requests);
            let height = if requests == 0 {
                0.0
            } else {
                (requests as f64 / top as f64 * HEIGHT).max(LOWEST)
            };
            let cached_height = if requests == 0 {
                0.0
            } else {
                height * (cached as f64 / requests as f64)
            };
            Bar {
                cached_height,
                cached_y: HEIGHT - cached_height,
                x: index as f64 * step + GAP / 2.0,
                y: HEIGHT - height,
                width: step - GAP,
                height,
                label: if cached == 0 {
                    format!("{day}: {}", grouped(requests))
                } else {
                    format!("{day}: {}, {} from the cache", grouped(requests), grouped(cached))
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINES, axis_top, lines, share};
    use domain::usage::UsageTotals;

    #[test]
    fn what_is_not_listed_is_summed() {
        let rows = (1..=60).map(|requests| {
            let totals = UsageTotals {
                requests,
                ..UsageTotals::default()
            };
            (format!("key {requests}"), totals)
        });
        let shown = lines(rows);
        assert_eq!((shown.len(), shown[0].name.as_str()), (LINES + 1, "key 60"));
        let last = shown.last().unwrap();
        assert_eq!((last.name.as_str(), last.requests.as_str()), ("10 others", "55"));
        let sum: u64 = shown.iter().map(|row| row.requests.parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 60 * 61 / 2);
    }

    #[test]
    fn the_axis_ends_with_a_round_number_that_holds_all() {
        for (max, top) in [
            (0, 1),
            (1, 1),
            (3, 5),
            (11, 20),
            (500, 500),
            (501, 1_000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(axis_top(max), top, "{max}");
        }
    }

    #[test]
    fn shares_are_not_flattered() {
        for (part, whole, shown) in [
            (0, 0, "0 %"),
            (0, 9, "0 %"),
            (1, 1_000, "under 1 %"),
            (999, 1_000, "99 %"),
            (5, 5, "100 %"),
        ] {
            assert_eq!(share(part, whole), shown);
        }
    }
}
