//! What a call has consumed: by the upstream's own counts where they can be believed, by estimate where there are none.
//!
//! Servers report once at the end, in every chunk, or at the beginning and never again; and some report zeros, since they do not count. So a count is believed as far as
//! it goes: the largest holds, a zero is none, and text that came after the last count is estimated and added.

use domain::tokens::{TokenUsage, estimate};
use llm::outbound::ReportedUsage;

#[derive(Debug)]
pub(super) struct Tally {
    input_bytes: usize,
    text_bytes: usize,
    reported: ReportedUsage,
    /// Bytes of text that had come when the count of the output was last reported, and when it last grew.
    reported_at: usize,
    grown_at: usize,
}

impl Tally {
    pub(super) fn new(input_bytes: usize) -> Self {
        Self {
            input_bytes,
            text_bytes: 0,
            reported: ReportedUsage::default(),
            reported_at: 0,
            grown_at: 0,
        }
    }

    pub(super) fn add_text(&mut self, bytes: usize) {
        self.text_bytes += bytes;
    }

    /// After the text that came with it.
    pub(super) fn report(&mut self, usage: ReportedUsage) {
        let reported = &mut self.reported;
        if usage.output > reported.output {
            self.grown_at = self.text_bytes;
        }
        if usage.output > 0 {
            self.reported_at = self.text_bytes;
        }
        reported.input = reported.input.max(usage.input);
        reported.output = reported.output.max(usage.output);
        reported.cached_input = reported.cached_input.max(usage.cached_input);
    }

    pub(super) fn is_reported(&self) -> bool {
        self.reported != ReportedUsage::default()
    }

    /// Of an answer that is complete: the last count, if there was one, was meant to be of all of it.
    pub(super) fn of_whole(&self) -> TokenUsage {
        self.since(self.reported_at)
    }

    /// Of an answer that broke off: a count that stood still while text came counts something else.
    pub(super) fn of_part(&self) -> TokenUsage {
        self.since(self.grown_at)
    }

    /// Of a call that failed: nothing if nothing came, for the prompt may not have been read.
    pub(super) fn of_failed(&self) -> TokenUsage {
        if self.text_bytes == 0 && !self.is_reported() {
            TokenUsage::default()
        } else {
            self.of_part()
        }
    }

    fn since(&self, counted_bytes: usize) -> TokenUsage {
        let ReportedUsage {
            input,
            output,
            cached_input,
        } = self.reported;
        let uncounted = estimate(self.text_bytes.saturating_sub(counted_bytes));
        TokenUsage {
            input: if input > 0 { input } else { estimate(self.input_bytes) },
            output: output.saturating_add(uncounted),
            cached_input: cached_input.min(input),
            estimated: input == 0 || uncounted > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use domain::tokens::TokenUsage;
    use llm::outbound::ReportedUsage;
    use proptest::prelude::*;

    fn reported(input: u64, output: u64) -> ReportedUsage {
        ReportedUsage {
            input,
            output,
            cached_input: 0,
        }
    }

    fn tokens(input: u64, output: u64, estimated: bool) -> TokenUsage {
        TokenUsage {
            input,
            output,
            cached_input: 0,
            estimated,
        }
    }

    /// Four hundred bytes of prompt, then as many words of eight bytes as there are reports, each after its word.
    fn tally(reports: impl IntoIterator<Item = Option<ReportedUsage>>) -> Tally {
        let mut tally = Tally::new(400);
        for report in reports {
            tally.add_text(8);
            if let Some(report) = report {
                tally.report(report);
            }
        }
        tally
    }

    #[test]
    fn a_count_at_the_end_holds() {
        let all = (0..300).map(|at| (at == 299).then(|| reported(900, 300)));
        assert_eq!(tally(all).of_whole(), tokens(900, 300, false));
        let mut cached = tally([]);
        cached.report(ReportedUsage {
            cached_input: 90,
            ..reported(100, 7)
        });
        assert_eq!(
            cached.of_whole(),
            TokenUsage {
                cached_input: 90,
                ..tokens(100, 7, false)
            }
        );
    }

    #[test]
    fn zeros_count_nothing() {
        let zeros = || (0..300).map(|_| Some(reported(0, 0)));
        assert_eq!(tally(zeros()).of_whole(), tokens(100, 600, true));
        assert_eq!(tally(zeros()).of_part(), tokens(100, 600, true));
        let mut none = tally([]);
        none.report(reported(0, 0));
        assert_eq!(none.of_failed(), TokenUsage::default());
        assert_eq!(tally([]).of_whole(), tokens(100, 0, true));
    }

    #[test]
    fn what_came_after_the_last_count_is_added() {
        let first = || (0..300).map(|at| (at == 0).then(|| reported(900, 0)));
        assert_eq!(tally(first()).of_part(), tokens(900, 600, true));
        assert_eq!(tally(first()).of_whole(), tokens(900, 600, true));
        let running = || (1..=300).map(|at| Some(reported(900, at)));
        assert_eq!(tally(running()).of_part(), tokens(900, 300, false));
        let then_none = running().chain([None, None]);
        assert_eq!(tally(then_none).of_part(), tokens(900, 304, true));
        // Some servers give the same in each chunk, which is right at the end at most.
        let constant = || (0..300).map(|_| Some(reported(900, 300)));
        assert_eq!(tally(constant()).of_whole(), tokens(900, 300, false));
        assert_eq!(tally(constant()).of_part(), tokens(900, 300 + 598, true));
    }

    #[test]
    fn a_smaller_count_later_does_not_win() {
        let mut tally = tally((1..=300).map(|at| Some(reported(900, at))));
        tally.report(reported(900, 1));
        assert_eq!(tally.of_whole(), tokens(900, 300, false));
    }

    #[test]
    fn a_failure_is_charged_for_what_came() {
        assert_eq!(tally([]).of_failed(), TokenUsage::default());
        assert_eq!(tally([None]).of_failed(), tokens(100, 2, true));
        assert_eq!(tally([Some(reported(5, 1))]).of_failed(), tokens(5, 1, false));
    }

    proptest! {
        #[test]
        fn never_less_than_was_reported(
            steps in prop::collection::vec((0..50_usize, prop::option::of((0..1_000_u64, 0..1_000_u64))), 0..20),
        ) {
            let mut tally = Tally::new(40);
            let (mut input, mut output, mut bytes) = (0, 0, 0);
            for (text, report) in steps {
                bytes += text;
                tally.add_text(text);
                if let Some((one, other)) = report {
                    tally.report(reported(one, other));
                    (input, output) = (input.max(one), output.max(other));
                }
            }
            for found in [tally.of_whole(), tally.of_part()] {
                prop_assert!(found.input >= input && found.output >= output);
                prop_assert!(found.output <= output + bytes.div_ceil(4) as u64);
                prop_assert_eq!(found.estimated, found.input != input || input == 0 || found.output != output);
            }
        }
    }
}
