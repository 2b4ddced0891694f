//! Usage as rows and as a chart.

use crate::{
    domain::{ids::ApiKeyId, usage::UsageTotals},
    service::usage::UsageReport,
    web::views::{Bar, UsageRow, UsageView},
};

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
    UsageView {
        totals: row("All".to_owned(), report.totals),
        bars: bars(&report),
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
        requests: totals.requests,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        cost: totals.cost.to_string(),
        from_cache: share(totals.cached_requests, totals.requests),
        saved: totals.saved.to_string(),
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

/// One bar for each day of the report, those without usage included.
fn bars(report: &UsageReport) -> Vec<Bar> {
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
            let totals = report.by_day.get(day).copied().unwrap_or_default();
            let (requests, cached) = (totals.requests, totals.cached_requests);
            let height = if requests == 0 {
                0.0
            } else {
                (requests as f64 / most * (HEIGHT - 8.0)).max(LOWEST)
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
                    format!("{day}: {requests}")
                } else {
                    format!("{day}: {requests}, {cached} from the cache")
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINES, lines, share};
    use crate::domain::usage::UsageTotals;

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
        assert_eq!((last.name.as_str(), last.requests), ("10 others", 55));
        assert_eq!(shown.iter().map(|row| row.requests).sum::<u64>(), 60 * 61 / 2);
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
