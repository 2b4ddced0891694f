use super::{Frames, as_they_are};
use crate::{Events, ProviderError, Stage};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use llm::frame::{Frame, FrameKind};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const COUNTS: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const ERROR: &str = "data: {\"error\":{\"message\":\"no capacity\"}}\n\n";
/// What is no part of the answer where it follows the end.
const LATE: [&str; 3] = [
    "data: took 3 s\n\n",
    "data: {\"error\":{\"message\":\"late\"},\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"late\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
];

type Item = Result<Bytes, ProviderError>;

struct Script<S> {
    items: Pin<Box<S>>,
    stages: Arc<Mutex<Vec<Stage>>>,
}

impl<S: Stream<Item = Item>> Stream for Script<S> {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.items.as_mut().poll_next(context)
    }
}

impl<S: Stream<Item = Item>> Events for Script<S> {
    fn reached(self: Pin<&mut Self>, stage: Stage) {
        self.stages.lock().unwrap().push(stage);
    }
}

type Convert = fn(Bytes) -> Bytes;

fn frames(items: impl Stream<Item = Item> + Send + 'static) -> (Frames<Convert>, Arc<Mutex<Vec<Stage>>>) {
    frames_by(as_they_are, items)
}

fn frames_by(
    convert: Convert,
    items: impl Stream<Item = Item> + Send + 'static,
) -> (Frames<Convert>, Arc<Mutex<Vec<Stage>>>) {
    let stages = Arc::<Mutex<Vec<Stage>>>::default();
    let script = Script {
        items: Box::pin(items),
        stages: Arc::clone(&stages),
    };
    (
        Frames::new(Box::pin(script), 1, convert, Box::new(<[u8]>::to_vec)),
        stages,
    )
}

/// What comes of these items, each in a piece of its own: the kinds of the frames, and the error at the end.
async fn kinds(items: &[&'static str]) -> (Vec<FrameKind>, Option<ProviderError>) {
    let items: Vec<Item> = items
        .iter()
        .map(|item| Ok(Bytes::from_static(item.as_bytes())))
        .collect();
    let (mut frames, _) = frames(stream::iter(items));
    let mut kinds = Vec::new();
    while let Some(frame) = frames.next().await {
        match frame {
            Ok(frame) => kinds.push(frame.kind),
            Err(error) => return (kinds, Some(error)),
        }
    }
    (kinds, None)
}

#[tokio::test]
async fn counts_come_before_the_mark_and_nothing_after_the_end() {
    use FrameKind::{Data, Done, Error, Usage};
    let both = format!("{STOP}{DONE}{COUNTS}{TEXT}").leak();
    for (items, expected) in [
        (&[TEXT, STOP, COUNTS, DONE, TEXT][..], &[Data, Data, Usage, Done][..]),
        (&[TEXT, STOP, DONE, COUNTS], &[Data, Data, Usage, Done]),
        (&[TEXT, both], &[Data, Data, Usage, Done]),
        (&[TEXT, STOP, COUNTS], &[Data, Data, Usage]),
        (&[TEXT, ERROR, COUNTS, TEXT], &[Data, Usage, Error]),
    ] {
        let (kinds, error) = kinds(items).await;
        assert_eq!(kinds, expected, "{items:?}");
        assert!(error.is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_has_ended_well_stays_so_whatever_follows() {
    use FrameKind::{Data, Done, Usage};
    for late in [ERROR, LATE[0], LATE[1], LATE[2]] {
        let (kinds, error) = kinds(&[TEXT, STOP, DONE, late, COUNTS]).await;
        assert!(error.is_none(), "{late}: {error:?}");
        assert_eq!(kinds, [Data, Data, Usage, Done], "{late}");
    }
}

#[tokio::test]
async fn a_stream_that_is_no_complete_answer_ends_with_an_error() {
    let early = kinds(&[TEXT]).await.1;
    assert!(matches!(early, Some(ProviderError::EndedEarly)), "{early:?}");
    let (frames, empty) = kinds(&[DONE]).await;
    assert!(frames.is_empty(), "an error that follows must not come after the mark");
    assert!(matches!(empty, Some(ProviderError::BadReply(_))), "{empty:?}");
}

#[tokio::test]
async fn what_breaks_off_after_the_mark_is_whole_and_before_it_is_not() {
    let broken = || Err(ProviderError::BrokenOff("broken".into()));
    let item = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let (whole, _) = frames(stream::iter([item(TEXT), item(STOP), item(DONE), broken()]));
    let whole: Vec<_> = whole.collect().await;
    assert!(whole.len() == 3 && whole.iter().all(Result::is_ok));
    let (half, _) = frames(stream::iter([item(TEXT), broken(), item(DONE)]));
    let half: Vec<_> = half.collect().await;
    assert!(
        matches!(half[..], [Ok(_), Err(ProviderError::BrokenOff(_))]),
        "{half:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn counts_after_the_mark_are_waited_for_only_if_none_have_come() {
    let item = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    for (before, waited) in [(STOP, Duration::from_millis(50)), (COUNTS, Duration::ZERO)] {
        let items = stream::iter([item(TEXT), item(before), item(DONE)]).chain(stream::pending());
        let (frames, stages) = frames(items);
        let started = Instant::now();
        let kinds: Vec<_> = frames.map(|frame| frame.unwrap().kind).collect().await;
        assert_eq!(kinds.last(), Some(&FrameKind::Done));
        assert!((waited..waited + Duration::from_millis(5)).contains(&started.elapsed()));
        assert_eq!(stages.lock().unwrap()[0], Stage::Content);
    }
    // They come late, and still before the mark.
    let late = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Bytes::from_static(COUNTS.as_bytes()))
    });
    let items = stream::iter([item(TEXT), item(STOP), item(DONE)])
        .chain(late)
        .chain(stream::pending());
    let kinds: Vec<_> = frames(items).0.map(|frame| frame.unwrap().kind).collect().await;
    assert_eq!(kinds[2..], [FrameKind::Usage, FrameKind::Done]);
}

/// Who goes on talking after the end is not listened to for ever.
#[tokio::test]
async fn a_server_that_never_ends_is_left_after_a_few_items() {
    let item = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let items =
        stream::iter([item(TEXT), item(STOP), item(DONE)]).chain(stream::repeat_with(move || item(": ping\n\n")));
    let kinds: Vec<_> = frames(items).0.map(|frame| frame.unwrap().kind).collect().await;
    assert_eq!(kinds, [FrameKind::Data, FrameKind::Data, FrameKind::Done]);
}

/// Of a format of its own: a line is text, but for `.`, which ends the answer, and `#` with counts.
fn of_lines(events: &[u8]) -> Bytes {
    let lines = std::str::from_utf8(events).unwrap().lines();
    let converted: String = lines
        .map(|line| match line {
            "." => format!("{STOP}{DONE}"),
            "#" => COUNTS.to_owned(),
            text => TEXT.replace("Hi", text),
        })
        .collect();
    converted.into()
}

#[tokio::test]
async fn another_format_is_converted_and_keeps_the_same_order() {
    use FrameKind::{Data, Done, Usage};
    let item = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let lines = [item("one\ntwo\n"), item(".\n"), item("#\nlate\n")];
    let (frames, stages) = frames_by(|events| of_lines(&events), stream::iter(lines));
    let frames: Vec<Frame> = frames.map(Result::unwrap).collect().await;
    let kinds: Vec<FrameKind> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Data, Data, Data, Usage, Done]);
    assert_eq!(&frames[1].bytes[..], TEXT.replace("Hi", "two").as_bytes());
    assert!(!stages.lock().unwrap().is_empty());
    let (frames, _) = frames_by(|events| of_lines(&events), stream::iter([item("one\n")]));
    assert!(frames.collect::<Vec<_>>().await.last().unwrap().is_err());
}
