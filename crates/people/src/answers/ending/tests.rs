use super::{Omitted, Seen, of_finished, sentence};
use llm::outbound::openai::said::Finish;

#[test]
fn why_there_is_no_more_text_is_told() {
    let finished = Seen {
        finish: Some(Finish::Stop),
        has_text: true,
        ..Seen::default()
    };
    assert_eq!(of_finished(finished), None);
    for (seen, reason) in [
        (
            Seen {
                finish: Some(Finish::Length),
                ..finished
            },
            "length",
        ),
        (
            Seen {
                finish: Some(Finish::Length),
                has_text: false,
                has_thoughts: true,
                ..finished
            },
            "length",
        ),
        (
            Seen {
                finish: Some(Finish::ContentFilter),
                ..finished
            },
            "content_filter",
        ),
        (
            Seen {
                refused: true,
                ..finished
            },
            "refusal",
        ),
        (
            Seen {
                has_text: false,
                calls_tools: true,
                finish: Some(Finish::ToolCalls),
                ..finished
            },
            "tool_calls",
        ),
        (
            Seen {
                has_text: false,
                ..finished
            },
            "empty",
        ),
        (
            Seen {
                omitted: Some(Omitted::Oldest),
                ..finished
            },
            "history_shortened",
        ),
        (
            Seen {
                omitted: Some(Omitted::Unanswered),
                ..finished
            },
            "history_shortened",
        ),
    ] {
        let ending = of_finished(seen).unwrap();
        assert_eq!(ending.reason, reason);
        assert!(ending.detail.ends_with('.'));
    }
}

#[test]
fn errors_become_sentences() {
    assert_eq!(sentence(&"the provider broke off"), "The provider broke off.");
}
