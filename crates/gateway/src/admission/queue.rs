//! The state of admission: counts, and a queue per organisation, served in rotation. No clocks, no tasks.

use std::{collections::VecDeque, time::Duration};

use foldhash::HashMap;

use super::Refused;
use configuration::admission::AdmissionConfig;
use domain::ids::OrganizationId;

/// Weight of the newest call in the average duration of calls.
const WEIGHT: f64 = 0.05;
/// Number of calls before that average is used to refuse others.
const ENOUGH: u32 = 16;
/// Bounds of the advice when to come back.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(30);

/// The result of asking for admission.
pub(super) enum EnqueueResult<T, W> {
    Admitted,
    Waiting {
        ticket: u64,
        /// What the call waits on.
        by: W,
        /// The call that was displaced from the full queue: the newest of the organisation with the most waiting calls.
        displaced: Option<(T, Refused)>,
    },
    Refused(Refused),
}

/// `T` is the handle by which a waiting call is woken.
pub(super) struct Queue<T> {
    limits: AdmissionConfig,
    in_flight: usize,
    waiting: usize,
    /// Only organisations with calls in flight or waiting.
    tenants: HashMap<OrganizationId, Tenant<T>>,
    /// Organisations with waiting calls, each once; the front one is served next.
    rotation: VecDeque<OrganizationId>,
    next_ticket: u64,
    seen: u32,
    average: f64,
}

struct Tenant<T> {
    in_flight: usize,
    waiting: VecDeque<(u64, T)>,
}

impl<T> Queue<T> {
    pub(super) fn new(limits: &AdmissionConfig) -> Self {
        Self {
            limits: *limits,
            in_flight: 0,
            waiting: 0,
            tenants: HashMap::default(),
            rotation: VecDeque::new(),
            next_ticket: 0,
            seen: 0,
            average: 0.0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// `wait` makes the handle and what the call waits on. Most calls need neither.
    pub(super) fn enqueue<W>(
        &mut self,
        organization: OrganizationId,
        wait: impl FnOnce() -> (T, W),
    ) -> EnqueueResult<T, W> {
        let limits = self.limits;
        let tenant = self.tenants.entry(organization).or_insert_with(|| Tenant {
            in_flight: 0,
            waiting: VecDeque::new(),
        });
        // A call that waits although there is room waits for its organisation's own limit, so this overtakes no other.
        if self.in_flight < limits.max_in_flight
            && tenant.in_flight < limits.max_in_flight_per_organization
            && tenant.waiting.is_empty()
        {
            self.in_flight += 1;
            tenant.in_flight += 1;
            return EnqueueResult::Admitted;
        }
        let expected = self.expected_wait(organization);
        if limits.queue_length == 0 || limits.queue_timeout.is_zero() || expected > limits.queue_timeout {
            let refused = self.refusal(organization, expected);
            self.forget_if_idle(organization);
            return EnqueueResult::Refused(refused);
        }
        let mut displaced = None;
        if self.waiting >= limits.queue_length {
            displaced = self.displace(organization);
            if displaced.is_none() {
                let refused = self.refusal(organization, expected);
                self.forget_if_idle(organization);
                return EnqueueResult::Refused(refused);
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let (call, by) = wait();
        if let Some(tenant) = self.tenants.get_mut(&organization) {
            if tenant.waiting.is_empty() {
                self.rotation.push_back(organization);
            }
            tenant.waiting.push_back((ticket, call));
            self.waiting += 1;
        }
        EnqueueResult::Waiting { ticket, by, displaced }
    }

    /// Ends a call, after `held_for` if a provider took that long.
    pub(super) fn release(&mut self, organization: OrganizationId, held_for: Option<Duration>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(tenant) = self.tenants.get_mut(&organization) {
            tenant.in_flight = tenant.in_flight.saturating_sub(1);
        }
        self.forget_if_idle(organization);
        let Some(held_for) = held_for.map(|held_for| held_for.as_secs_f64()) else {
            return;
        };
        self.average = if self.seen == 0 {
            held_for
        } else {
            self.average + WEIGHT * (held_for - self.average)
        };
        self.seen = self.seen.saturating_add(1);
    }

    /// The next call to admit, if there is a slot: that of the first organisation in the rotation below its own limit. It
    /// counts as in flight from here on.
    pub(super) fn next(&mut self) -> Option<(OrganizationId, T)> {
        if self.in_flight >= self.limits.max_in_flight {
            return None;
        }
        for _ in 0..self.rotation.len() {
            let organization = self.rotation.pop_front()?;
            let Some(tenant) = self.tenants.get_mut(&organization) else {
                continue;
            };
            if tenant.in_flight >= self.limits.max_in_flight_per_organization {
                self.rotation.push_back(organization);
                continue;
            }
            let Some((_, call)) = tenant.waiting.pop_front() else {
                continue;
            };
            tenant.in_flight += 1;
            self.in_flight += 1;
            self.waiting -= 1;
            if !tenant.waiting.is_empty() {
                self.rotation.push_back(organization);
            }
            return Some((organization, call));
        }
        None
    }

    /// Removes a call from the queue; false if it was not there any more.
    pub(super) fn leave(&mut self, organization: OrganizationId, ticket: u64) -> bool {
        let Some(tenant) = self.tenants.get_mut(&organization) else {
            return false;
        };
        let Some(place) = tenant.waiting.iter().position(|(waiting, _)| *waiting == ticket) else {
            return false;
        };
        tenant.waiting.remove(place);
        self.waiting -= 1;
        if tenant.waiting.is_empty() {
            self.rotation.retain(|member| *member != organization);
        }
        self.forget_if_idle(organization);
        true
    }

    /// The refusal for a call whose timeout has passed.
    pub(super) fn too_late(&self, organization: OrganizationId) -> Refused {
        self.refusal(organization, self.expected_wait(organization))
    }

    /// Makes room in the full queue if another organisation has clearly more waiting calls than `organization`.
    fn displace(&mut self, organization: OrganizationId) -> Option<(T, Refused)> {
        let waiting_of =
            |organization: &OrganizationId| self.tenants.get(organization).map_or(0, |tenant| tenant.waiting.len());
        let longest = *self
            .rotation
            .iter()
            .max_by_key(|organization| waiting_of(organization))?;
        if waiting_of(&longest) <= waiting_of(&organization) + 1 {
            return None;
        }
        let refused = self.refusal(longest, self.expected_wait(longest));
        let (_, call) = self.tenants.get_mut(&longest)?.waiting.pop_back()?;
        self.waiting -= 1;
        Some((call, refused))
    }

    /// The expected wait of an organisation's next call, from the average duration and the number of organisations that
    /// share the slots.
    fn expected_wait(&self, organization: OrganizationId) -> Duration {
        if self.seen < ENOUGH {
            return Duration::ZERO;
        }
        let ahead = self.tenants.get(&organization).map_or(0, |tenant| tenant.waiting.len());
        let sharing = self.rotation.len().max(1);
        let places = (self.limits.max_in_flight / sharing).clamp(1, self.limits.max_in_flight_per_organization.max(1));
        Duration::try_from_secs_f64(self.average * (ahead as f64 / places as f64)).unwrap_or(LATEST)
    }

    fn refusal(&self, organization: OrganizationId, expected: Duration) -> Refused {
        let retry_after = expected.clamp(SOONEST, LATEST);
        let at_limit = self
            .tenants
            .get(&organization)
            .is_some_and(|tenant| tenant.in_flight >= self.limits.max_in_flight_per_organization);
        // With slots left for others, the organisation's own limit is the reason.
        if at_limit {
            Refused::Organization { retry_after }
        } else {
            Refused::Process { retry_after }
        }
    }

    fn forget_if_idle(&mut self, organization: OrganizationId) {
        if let Some(tenant) = self.tenants.get(&organization)
            && tenant.in_flight == 0
            && tenant.waiting.is_empty()
        {
            self.tenants.remove(&organization);
        }
    }
}
