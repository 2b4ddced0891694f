//! Metrics of one route. Handles are made once per status, so that a request only touches atomics.

use std::{sync::OnceLock, time::Duration};

use http::{Method, StatusCode};
use metrics::{Gauge, Histogram, Label, gauge, histogram};

use telemetry::metrics::{HTTP_DURATION, HTTP_IN_FLIGHT};

/// The statuses that this service answers; any other that an upstream invents counts as `other`, which bounds the label.
const STATUSES: [u16; 22] = [
    200, 201, 202, 204, 206, 303, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504,
];

pub struct RouteMetrics {
    labels: [Label; 2],
    in_flight: Gauge,
    durations: [OnceLock<Histogram>; STATUSES.len() + 1],
}

/// Counts a request as active until dropped, even when its future is.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl RouteMetrics {
    pub fn new(method: &Method, path: &str) -> Self {
        let labels = [
            Label::new("http_request_method", method.as_str().to_owned()),
            Label::new("http_route", path.to_owned()),
        ];
        let in_flight = gauge!(HTTP_IN_FLIGHT, labels.iter());
        Self {
            labels,
            in_flight,
            durations: [const { OnceLock::new() }; STATUSES.len() + 1],
        }
    }

    pub fn begin(&self) -> InFlight {
        self.in_flight.increment(1.0);
        InFlight(self.in_flight.clone())
    }

    pub fn record(&self, status: StatusCode, elapsed: Duration) {
        let index = STATUSES.iter().position(|listed| *listed == status.as_u16());
        let histogram = self.durations[index.unwrap_or(STATUSES.len())].get_or_init(|| {
            let status = index.map_or_else(|| "other".to_owned(), |index| STATUSES[index].to_string());
            let labels = self
                .labels
                .iter()
                .cloned()
                .chain([Label::new("http_response_status_code", status)]);
            histogram!(HTTP_DURATION, labels.collect::<Vec<_>>())
        });
        histogram.record(elapsed.as_secs_f64());
    }
}
