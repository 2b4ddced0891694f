//! An error with all that caused it: "the query failed" alone tells an operator nothing.

use std::error::Error;

/// The error and its sources on one line, each said once.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::error_chain;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("the query failed")]
        Query(#[source] std::io::Error),
        #[error(transparent)]
        Same(std::io::Error),
    }

    #[test]
    fn every_cause_is_told_once() {
        let cause = || std::io::Error::other("permission denied for table usage_records");
        assert_eq!(
            error_chain(&Failed::Query(cause())),
            "the query failed: permission denied for table usage_records"
        );
        assert_eq!(
            error_chain(&Failed::Same(cause())),
            "permission denied for table usage_records"
        );
    }
}
