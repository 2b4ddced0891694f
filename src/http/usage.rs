//! `/api/usage`: what the caller's organisation consumed.

use std::ops::Bound;

use axum::{Json, extract::State};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Parameters;
use crate::{api_error::ApiError, auth::extract::CurrentUser};
use domain::field::FieldFault;
use domain::{ids::ApiKeyId, usage::UsageTotals};
use gateway::usage::{Usage, UsageReport};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// First day (UTC); 29 days before `to` if absent.
    #[param(required = false)]
    from: Option<NaiveDate>,
    /// Last day (UTC), included; today if absent.
    #[param(required = false)]
    to: Option<NaiveDate>,
    /// How many keys `by_key` lists, 1 to 1,000; 200 if absent.
    #[param(minimum = 1, maximum = 1000, required = false)]
    keys: Option<u16>,
    /// `next_key` of the answer before: goes on with the keys after those.
    #[param(required = false)]
    after_key: Option<ApiKeyId>,
}

/// Keys that a report lists to who does not say how many, and at most: a line has some 300 bytes.
const KEYS: u16 = 200;
const MAX_KEYS: u16 = 1_000;

#[derive(Serialize, ToSchema)]
pub struct TotalsBody {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Of the input tokens, those that providers had from earlier calls, and charge less for.
    cached_input_tokens: u64,
    /// US dollars, decimal.
    cost_usd: String,
    /// How many of the requests have token counts that were estimated, since the provider reported none.
    estimated_requests: u64,
    /// How many of the requests were answered from the cache, at no cost.
    cached_requests: u64,
    /// What those would have cost, in US dollars, decimal.
    saved_usd: String,
}

impl From<UsageTotals> for TotalsBody {
    fn from(totals: UsageTotals) -> Self {
        Self {
            requests: totals.requests,
            input_tokens: totals.input_tokens,
            output_tokens: totals.output_tokens,
            cached_input_tokens: totals.cached_input_tokens,
            cost_usd: totals.cost.to_string(),
            estimated_requests: totals.estimated_requests,
            cached_requests: totals.cached_requests,
            saved_usd: totals.saved.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct DayBody {
    day: NaiveDate,
    #[serde(flatten)]
    totals: TotalsBody,
}

#[derive(Serialize, ToSchema)]
pub struct ModelUsageBody {
    model: String,
    #[serde(flatten)]
    totals: TotalsBody,
}

#[derive(Serialize, ToSchema)]
pub struct KeyUsageBody {
    /// Null for what people asked on the page.
    key_id: Option<ApiKeyId>,
    /// Null if the key is not known any more.
    key_name: Option<String>,
    #[serde(flatten)]
    totals: TotalsBody,
}

#[derive(Serialize, ToSchema)]
pub struct UsageBody {
    from: NaiveDate,
    to: NaiveDate,
    totals: TotalsBody,
    by_day: Vec<DayBody>,
    by_model: Vec<ModelUsageBody>,
    /// Members see their own keys. The rest, if there is more, follows `next_key`.
    by_key: Vec<KeyUsageBody>,
    /// The `after_key` of the next part of `by_key`, null with the last.
    next_key: Option<ApiKeyId>,
}

impl UsageBody {
    fn of(report: UsageReport, keys: u16, after: Option<ApiKeyId>) -> Self {
        // What people asked on the page comes before all keys, and beside them: it cannot be gone on from.
        let has_page = after.is_none() && report.by_key.contains_key(&None);
        let keys = usize::from(keys) + usize::from(has_page);
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(Some(after)));
        let mut rest = report.by_key.range((start, Bound::Unbounded));
        let listed: Vec<_> = rest.by_ref().take(keys).collect();
        let last = listed.last().and_then(|(key, _)| **key);
        let next_key = rest.next().and(last);
        Self {
            from: report.from,
            to: report.to,
            totals: report.totals.into(),
            by_day: report
                .by_day
                .into_iter()
                .map(|(day, totals)| DayBody {
                    day,
                    totals: totals.into(),
                })
                .collect(),
            by_model: report
                .by_model
                .into_iter()
                .map(|(model, totals)| ModelUsageBody {
                    model,
                    totals: totals.into(),
                })
                .collect(),
            by_key: listed
                .into_iter()
                .map(|(key_id, (key_name, totals))| KeyUsageBody {
                    key_id: *key_id,
                    key_name: key_name.clone(),
                    totals: (*totals).into(),
                })
                .collect(),
            next_key,
        }
    }
}

/// Usage of the caller's organisation by day, model and key, over at most 366 days.
#[utoipa::path(get, path = "/api/usage", tag = "Usage", params(UsageQuery), responses((status = 200, description = "Sums; records appear within a second of their call's end", body = UsageBody)))]
pub async fn report(
    State(usage): State<Usage>,
    CurrentUser(caller): CurrentUser,
    Parameters(query): Parameters<UsageQuery>,
) -> Result<Json<UsageBody>, ApiError> {
    let keys = query.keys.unwrap_or(KEYS);
    if !(1..=MAX_KEYS).contains(&keys) {
        return Err(ApiError::invalid(vec![FieldFault {
            field: "keys".into(),
            message: format!("must be between 1 and {MAX_KEYS}"),
        }]));
    }
    let report = usage.report(&caller, query.from, query.to).await?;
    Ok(Json(UsageBody::of(report, keys, query.after_key)))
}
