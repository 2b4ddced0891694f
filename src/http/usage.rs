//! `/api/usage`: what the caller's organisation consumed.

use axum::{Json, extract::State};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Parameters;
use crate::{
    auth::extract::CurrentUser,
    domain::{ids::ApiKeyId, usage::UsageTotals},
    failure::Failure,
    service::usage::{Usage, UsageReport},
};

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
}

#[derive(Serialize, ToSchema)]
pub struct TotalsBody {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
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
    by_key: Vec<KeyUsageBody>,
}

impl From<UsageReport> for UsageBody {
    fn from(report: UsageReport) -> Self {
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
            by_key: report
                .by_key
                .into_iter()
                .map(|(key_id, (key_name, totals))| KeyUsageBody {
                    key_id,
                    key_name,
                    totals: totals.into(),
                })
                .collect(),
        }
    }
}

/// Usage of the caller's organisation by day, model and key, over at most 366 days.
#[utoipa::path(get, path = "/api/usage", tag = "Usage", params(UsageQuery), responses((status = 200, description = "Sums; records appear within a second of their call's end", body = UsageBody)))]
pub async fn report(
    State(usage): State<Usage>,
    CurrentUser(caller): CurrentUser,
    Parameters(query): Parameters<UsageQuery>,
) -> Result<Json<UsageBody>, Failure> {
    Ok(Json(
        usage.report(caller.organization, query.from, query.to).await?.into(),
    ))
}
