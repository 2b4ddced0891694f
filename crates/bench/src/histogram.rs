//! Latencies in log-linear buckets: constant memory, and a relative error below 1 % at every magnitude.

use std::time::Duration;

/// Each power of two is split into this many buckets, as a power of two.
const PRECISION: u32 = 7;
const LINEAR: u64 = 1 << PRECISION;
/// 2^42 ns is over an hour, longer than any run.
const OCTAVES: usize = 42 - PRECISION as usize;

/// Counts of latencies in nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; (OCTAVES + 1) << PRECISION],
            total: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket_of(nanos).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The value that `share` (0 to 1) of the recorded ones do not exceed, in microseconds; 0 when nothing was recorded.
    pub(crate) fn quantile_micros(&self, share: f64) -> f64 {
        let mut missing = share * self.total as f64;
        for (bucket, &count) in self.counts.iter().enumerate() {
            missing -= count as f64;
            if count > 0 && missing <= 0.0 {
                return middle_of(bucket) / 1_000.0;
            }
        }
        0.0
    }
}

fn bucket_of(nanos: u64) -> usize {
    if nanos < LINEAR {
        return usize::try_from(nanos).unwrap_or(usize::MAX);
    }
    // The leading one and the PRECISION bits below it name the bucket.
    let octave = nanos.ilog2() - PRECISION;
    let mantissa = (nanos >> octave) - LINEAR;
    let index = (u64::from(octave + 1) << PRECISION) + mantissa;
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn middle_of(bucket: usize) -> f64 {
    let octave = bucket >> PRECISION;
    let mantissa = (bucket & ((1 << PRECISION) - 1)) as f64;
    if octave == 0 {
        return mantissa;
    }
    let width = f64::from(u32::try_from(octave - 1).unwrap_or(u32::MAX)).exp2();
    (mantissa + LINEAR as f64 + 0.5) * width
}

/// The middle value, the mean of the middle two for an even number, and 0 for none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
