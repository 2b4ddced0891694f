//! Reports: what an organisation consumed in a span of days.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{NaiveDate, TimeDelta};

use super::Usage;
use crate::caches::{self, RememberedSums};
use domain::field::{Faults, FieldFault};
use domain::{
    account::SessionOwner,
    ids::{ApiKeyId, OrganizationId},
    usage::{KeySum, UsageSums, UsageTotals},
};
use store::StoreError;

/// Longest span of a report, in days.
const MAX_SPAN_DAYS: i64 = 366;
/// Days, models and keys that a report has a line for.
const MAX_LINES: i64 = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("the span has more than {MAX_LINES} models and keys")]
    TooMuch,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedStore(#[from] Arc<StoreError>),
}

/// What was consumed in a span of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    pub from: NaiveDate,
    pub to: NaiveDate,
    pub totals: UsageTotals,
    pub by_day: BTreeMap<NaiveDate, UsageTotals>,
    pub by_model: BTreeMap<String, UsageTotals>,
    /// `None` is what people asked on the page. Members find their own keys here, for names and spending of others' are those others'
    /// affair; the totals are of all.
    pub by_key: BTreeMap<Option<ApiKeyId>, (Option<String>, UsageTotals)>,
}

impl Usage {
    /// Sums the caller's organisation from `from` to `to`, both included; the last 30 days if not said.
    pub async fn report(
        &self,
        caller: &SessionOwner,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
    ) -> Result<UsageReport, UsageError> {
        let to = to.unwrap_or_else(|| self.clock.now().date_naive());
        let from = from
            .or_else(|| to.checked_sub_signed(TimeDelta::days(29)))
            .unwrap_or(to);
        let mut faults = Faults::default();
        let stored = |day: NaiveDate| (1970..10_000).contains(&chrono::Datelike::year(&day));
        if !stored(from) || !stored(to) {
            faults.add("from", "must be a day between 1970-01-01 and 9999-12-31");
        } else if from > to {
            faults.add("from", "must not be after to");
        } else if (to - from).num_days() >= MAX_SPAN_DAYS {
            faults.add("from", format!("must be less than {MAX_SPAN_DAYS} days before to"));
        }
        if !faults.is_empty() {
            return Err(UsageError::Invalid(faults.into_vec()));
        }
        let mut report = UsageReport {
            from,
            to,
            totals: UsageTotals::default(),
            by_day: BTreeMap::new(),
            by_model: BTreeMap::new(),
            by_key: BTreeMap::new(),
        };
        for sums in self.sums(caller.organization, from, to).await? {
            report.add(&sums, caller);
        }
        Ok(report)
    }

    /// Days that are over are remembered; a day that is not is always read anew, which costs a row for each model and key.
    async fn sums(
        &self,
        organization: OrganizationId,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<Arc<UsageSums>>, UsageError> {
        let today = self.clock.now().date_naive();
        let mut parts = Vec::with_capacity(2);
        let over = to.min(today.pred_opt().unwrap_or(today));
        if from <= over && over < today {
            let store = self.store.clone();
            let sum = || async move {
                let sums = store.sums(organization, from, over, MAX_LINES).await?;
                Ok(sums.map(|sums| RememberedSums(Arc::new(sums))))
            };
            let key = caches::usage_key(organization, from, over);
            let remembered = self.caches.usage.get_or_load(key, sum).await?;
            parts.push(remembered.ok_or(UsageError::TooMuch)?.0);
        }
        if to >= today {
            let now = self.store.sums(organization, from.max(today), to, MAX_LINES).await?;
            parts.push(Arc::new(now.ok_or(UsageError::TooMuch)?));
        }
        Ok(parts)
    }
}

impl UsageReport {
    fn add(&mut self, sums: &UsageSums, caller: &SessionOwner) {
        for (day, totals) in &sums.days {
            self.totals += *totals;
            *self.by_day.entry(*day).or_default() += *totals;
        }
        for (model, totals) in &sums.models {
            *self.by_model.entry(model.clone()).or_default() += *totals;
        }
        let sees_all = caller.role.may_manage_members();
        let seen = sums
            .keys
            .iter()
            .filter(|sum| sees_all || sum.owner == Some(caller.user));
        for KeySum {
            key,
            name,
            owner: _,
            totals,
        } in seen
        {
            let line = self.by_key.entry(*key).or_default();
            line.0 = line.0.take().or_else(|| name.clone());
            line.1 += *totals;
        }
    }
}
