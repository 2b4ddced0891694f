//! Admission control: which calls go to a model now, which wait, and which are refused.
//!
//! Beyond the limits of the process or an organisation, calls wait in a queue that is bounded in length and in time.
//! Organisations are served in rotation, so that a flood delays only its own organisation. A call that cannot be served in
//! time is refused at once: a refusal after a long wait costs both sides more than a quick one.

mod queue;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::{sync::oneshot, time::Instant};

use concurrency::memory::Budget;
use configuration::admission::AdmissionConfig;
use domain::ids::OrganizationId;
use queue::{EnqueueResult, Queue};
use telemetry::metrics::{QUEUE_DURATION, QUEUE_LENGTH, REFUSALS};

/// Why a call was refused. Both variants say when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the organization has as many calls in flight and waiting as it may")]
    Organization { retry_after: Duration },
    #[error("the service has as many calls in flight and waiting as it can take")]
    Process { retry_after: Duration },
}

type Handover = oneshot::Sender<Result<Permit, Refused>>;

/// Admission to the providers. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<AdmissionInner>);

struct AdmissionInner {
    queue: Mutex<Queue<Handover>>,
    memory: Budget,
    timeout: Duration,
    waiting: Gauge,
    waited: Histogram,
    refused_organization: Counter,
    refused_process: Counter,
}

/// The right to have one call in flight, until dropped.
pub struct Permit {
    admission: Admission,
    organization: OrganizationId,
    since: Instant,
    /// When the call ended, if it reached a provider; the duration of other calls says nothing of the next.
    until: Option<Instant>,
}

impl Permit {
    /// Releases the permit of a call that reached a provider, at a time that was just read. Other permits are dropped.
    pub fn end(mut self, now: Instant) {
        self.until = Some(now);
    }
}

impl Admission {
    pub fn new(config: &AdmissionConfig) -> Self {
        let refused = |reason: &'static str| counter!(REFUSALS, "reason" => reason);
        Self(Arc::new(AdmissionInner {
            queue: Mutex::new(Queue::new(config)),
            memory: Budget::new(config.memory_bytes, config.queue_timeout),
            timeout: config.queue_timeout,
            waiting: gauge!(QUEUE_LENGTH),
            waited: histogram!(QUEUE_DURATION),
            refused_organization: refused("organization_limit"),
            refused_process: refused("overloaded"),
        }))
    }

    /// The memory budget for all bodies and responses.
    pub fn memory(&self) -> &Budget {
        &self.0.memory
    }

    /// Waits for a permit, at most the configured time. Dropping the future leaves the queue.
    pub async fn admit(&self, organization: OrganizationId) -> Result<Permit, Refused> {
        let outcome = match self.try_admit(organization) {
            Ok(AdmissionAttempt::Admitted(permit)) => return Ok(permit),
            Ok(AdmissionAttempt::Waiting(queued)) => queued.wait(self.0.timeout).await,
            Err(refused) => Err(refused),
        };
        match &outcome {
            Ok(_) => {}
            Err(Refused::Organization { .. }) => self.0.refused_organization.increment(1),
            Err(Refused::Process { .. }) => self.0.refused_process.increment(1),
        }
        outcome
    }

    fn try_admit(&self, organization: OrganizationId) -> Result<AdmissionAttempt, Refused> {
        let mut queue = self.lock();
        match queue.enqueue(organization, oneshot::channel) {
            EnqueueResult::Admitted => {
                drop(queue);
                Ok(AdmissionAttempt::Admitted(self.permit(organization)))
            }
            EnqueueResult::Waiting {
                ticket,
                by: receiver,
                displaced,
            } => {
                self.0.waiting.set(queue.len() as f64);
                drop(queue);
                if let Some((handover, refused)) = displaced {
                    // The call may have left just now, and then needs no result.
                    _ = handover.send(Err(refused));
                }
                Ok(AdmissionAttempt::Waiting(QueuedCall {
                    admission: self.clone(),
                    organization,
                    ticket,
                    receiver,
                    since: Instant::now(),
                }))
            }
            EnqueueResult::Refused(refused) => Err(refused),
        }
    }

    fn permit(&self, organization: OrganizationId) -> Permit {
        Permit {
            admission: self.clone(),
            organization,
            since: Instant::now(),
            until: None,
        }
    }

    /// Releases a slot and hands it to the next waiting call.
    fn release(&self, organization: OrganizationId, held_for: Option<Duration>) {
        let mut queue = self.lock();
        queue.release(organization, held_for);
        let next = queue.next();
        if next.is_some() {
            self.0.waiting.set(queue.len() as f64);
        }
        drop(queue);
        if let Some((organization, handover)) = next {
            // If the call has left just now, dropping the permit hands it on again.
            drop(handover.send(Ok(self.permit(organization))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Handover>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let held_for = self.until.map(|until| until.saturating_duration_since(self.since));
        self.admission.release(self.organization, held_for);
    }
}

enum AdmissionAttempt {
    Admitted(Permit),
    Waiting(QueuedCall),
}

/// A call waiting in the queue, removed when dropped.
struct QueuedCall {
    admission: Admission,
    organization: OrganizationId,
    ticket: u64,
    receiver: oneshot::Receiver<Result<Permit, Refused>>,
    since: Instant,
}

impl QueuedCall {
    async fn wait(mut self, timeout: Duration) -> Result<Permit, Refused> {
        let outcome = match tokio::time::timeout(timeout, &mut self.receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => {
                // The permit may have been handed over just when the timeout fired.
                match self.receiver.try_recv() {
                    Ok(outcome) => outcome,
                    Err(_) => Err(self.admission.lock().too_late(self.organization)),
                }
            }
        };
        self.admission.0.waited.record(self.since.elapsed().as_secs_f64());
        outcome
    }
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        let mut queue = self.admission.lock();
        if queue.leave(self.organization, self.ticket) {
            self.admission.0.waiting.set(queue.len() as f64);
        }
    }
}

#[cfg(test)]
mod tests;
