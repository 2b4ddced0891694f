//! Stop strings and whole characters.

use local_model::engine::text::TextAssembler;
use serde_json::json;

use crate::support::server::{TestServer, question};

/// Every part of a fixed answer, of 2 to 6 characters, wherever it lies across tokens.
#[tokio::test]
async fn an_answer_ends_before_its_first_stop() {
    let server = TestServer::start();
    let full = server.post(&question("Hello", json!({}))).await.content();
    for length in 2..=6 {
        for start in (0..full.len() - length).step_by(3) {
            let stop = &full[start..start + length];
            let expected = &full[..full.find(stop).expect("it is in there")];
            let whole = server.post(&question("Hello", json!({"stop": stop}))).await;
            assert_eq!(
                (whole.content().as_str(), whole.finish().as_str()),
                (expected, "stop"),
                "stop {stop:?}"
            );
            let stream = server
                .post(&question("Hello", json!({"stop": [stop], "stream": true})))
                .await;
            let (text, finish, _) = stream.streamed();
            assert_eq!(
                (text.as_str(), finish.as_str()),
                (expected, "stop"),
                "stop {stop:?}, streamed"
            );
        }
    }
}

#[tokio::test]
async fn a_stop_that_does_not_come_changes_nothing() {
    let server = TestServer::start();
    let full = server.post(&question("Hello", json!({}))).await.content();
    let begun_only = format!("{}#", &full[full.len() - 3..]);
    for stop in [begun_only.as_str(), "", "👍"] {
        let answer = server.post(&question("Hello", json!({"stop": [stop]}))).await;
        assert_eq!(
            (answer.content(), answer.finish().as_str()),
            (full.clone(), "length"),
            "stop {stop:?}"
        );
    }
}

fn assembled(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let mut assembler = TextAssembler::new(stops.iter().map(|stop| (*stop).to_owned()));
    let mut texts: Vec<String> = pieces.iter().map(|piece| assembler.push(piece)).collect();
    texts.push(assembler.finish());
    (texts, assembler.is_stopped())
}

#[test]
fn a_character_is_delivered_once_it_is_whole() {
    let flag = "🇫🇷".as_bytes();
    let (texts, _) = assembled(&[], &[&flag[..3], &flag[3..5], &flag[5..], b"!"]);
    assert_eq!(texts, ["", "🇫", "🇷", "!", ""]);
}

#[test]
fn half_a_character_at_the_end_is_left_out() {
    let (texts, _) = assembled(&[], &[b"caf", &"é".as_bytes()[..1]]);
    assert_eq!(texts.concat(), "caf");
    let (texts, _) = assembled(&[], &[b"a\xff\xc3b"]);
    assert_eq!(texts.concat(), "ab");
}

#[test]
fn only_what_may_become_a_stop_is_held_back() {
    let (texts, stopped) = assembled(&["END"], &[b"one E", b"N two", b" EN", b"D three"]);
    assert_eq!(
        (texts, stopped),
        (
            vec!["one ".into(), "EN two".into(), " ".into(), String::new(), String::new()],
            true
        )
    );
    let (texts, stopped) = assembled(&["👍!"], &["so 👍".as_bytes(), b"?"]);
    assert_eq!(
        (texts, stopped),
        (vec!["so ".into(), "👍?".into(), String::new()], false)
    );
}

#[test]
fn of_several_stops_the_one_that_is_complete_first_counts_however_the_text_comes() {
    let text = "abcdef";
    let in_one = assembled(&["abcd", "bc", "b"], &[text.as_bytes()]).0.concat();
    let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    let in_many = assembled(&["abcd", "bc", "b"], &single).0.concat();
    assert_eq!((in_one.as_str(), in_many.as_str()), ("a", "a"));
}
