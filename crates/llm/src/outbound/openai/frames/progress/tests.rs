use super::{AnswerFault, AnswerProgress, Stage};
use crate::outbound::openai::chunk::ChunkInfo;

#[test]
fn a_stream_ends_with_a_reason_or_a_mark_and_something_in_it() {
    let progress = |has_answer, is_finished, is_marked| AnswerProgress {
        has_answer,
        is_finished,
        is_marked,
        ..AnswerProgress::of(1)
    };
    assert!(progress(true, true, false).end().is_ok() && progress(true, false, true).end().is_ok());
    assert!(matches!(
        progress(true, false, false).end(),
        Err(AnswerFault::EndedEarly)
    ));
    assert!(matches!(
        progress(false, false, true).end(),
        Err(AnswerFault::NoAnswer(_))
    ));
    let failed = AnswerProgress {
        has_failed: true,
        ..progress(true, true, true)
    };
    assert!(matches!(failed.end(), Err(AnswerFault::Error)));
}

#[test]
fn an_answer_that_goes_on_has_not_ended() {
    let chunk = |text_bytes, finished| ChunkInfo {
        has_choices: true,
        text_bytes,
        finished,
        ..ChunkInfo::default()
    };
    let reached = |progress: &mut AnswerProgress, chunk: ChunkInfo| {
        let mut stages = String::new();
        progress.note(&chunk, |stage| {
            stages.push(if matches!(stage, Stage::Content) { 'c' } else { 'f' });
        });
        (stages, progress.end().is_ok())
    };
    let mut two = AnswerProgress::of(2);
    for (chunk, stages, may_end) in [
        (chunk(1, 0), "c", false),
        (chunk(1, 0), "", false),
        (chunk(0, 1), "", true),
        (chunk(1, 0), "c", false),
        (chunk(0, 1), "f", true),
    ] {
        assert_eq!(reached(&mut two, chunk), (stages.to_owned(), may_end));
    }
    // A reason with every chunk.
    let mut always = AnswerProgress::of(1);
    assert_eq!(reached(&mut always, chunk(1, 1)), ("cf".to_owned(), true));
    assert_eq!(reached(&mut always, chunk(1, 1)), ("cf".to_owned(), true));
    assert_eq!(reached(&mut always, chunk(1, 0)), ("c".to_owned(), false));
}
