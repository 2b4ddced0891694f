use bytes::Bytes;
use proptest::prelude::*;

use super::{EventSplitter, EventTooLarge, MAX_EVENT, begins_as_events, events, regular};

fn split(chunks: &[&[u8]]) -> (Vec<u8>, usize) {
    let mut splitter = EventSplitter::default();
    let mut all = Vec::new();
    let mut count = 0;
    for chunk in chunks {
        if let Some(item) = splitter.push(Bytes::copy_from_slice(chunk), 0).unwrap() {
            count += events(&item).count();
            all.extend_from_slice(&item);
        }
    }
    if let Some(rest) = splitter.rest() {
        all.extend_from_slice(&rest);
    }
    (all, count)
}

#[test]
fn every_line_ending_ends_an_event() {
    for blank in ["\n\n", "\r\n\r\n", "\r\r"] {
        let item = format!("data: a{blank}data:b{blank}");
        let found: Vec<_> = events(item.as_bytes()).map(|event| event.data().to_vec()).collect();
        assert_eq!(found, [b"a".to_vec(), b"b".to_vec()], "{blank:?}");
        assert_eq!(split(&[item.as_bytes()]), (item.clone().into_bytes(), 2));
    }
}

#[test]
fn fields_comments_and_marks() {
    let item = b"\xef\xbb\xbfevent: x\ndata: a\ndata:  b\nid: 1\n\n: ping\n\ndata\n\n";
    let found: Vec<_> = events(item).map(|event| event.data().to_vec()).collect();
    assert_eq!(found, [b"a\n b".to_vec(), Vec::new(), Vec::new()]);
}

#[test]
fn a_boundary_is_found_wherever_it_is_cut() {
    for blank in ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n", "\r\n\n", "\r\r\n", "\n\rd"] {
        let text = format!("data: a{blank}");
        for cut in 1..text.len() {
            let (before, after) = text.as_bytes().split_at(cut);
            let mut splitter = EventSplitter::default();
            let items = [before, after].map(|chunk| splitter.push(Bytes::copy_from_slice(chunk), 0).unwrap());
            let ended = items
                .iter()
                .flatten()
                .flat_map(|item| events(item))
                .next()
                .map(|event| event.data().to_vec());
            assert_eq!(ended.as_deref(), Some(&b"a"[..]), "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn an_endless_event_is_refused() {
    let mut splitter = EventSplitter::default();
    let half = Bytes::from(vec![b'x'; MAX_EVENT / 2]);
    for _ in 0..2 {
        assert_eq!(splitter.push(half.clone(), 0), Ok(None));
    }
    assert_eq!(splitter.push(Bytes::from_static(b"x"), 0), Err(EventTooLarge));
}

#[test]
fn a_line_that_is_a_whole_chunk_is_an_event() {
    // songquanpeng/one-api #277: one line end between events.
    for end in ["\n", "\r\n"] {
        let mut splitter = EventSplitter::default();
        let lines = [r#"data: {"a":1}"#, r#"data:{"b":"\n"}"#, "data: [DONE]"].map(|line| format!("{line}{end}"));
        for line in &lines {
            let item = splitter.push(Bytes::from(line.clone()), 0).unwrap();
            assert_eq!(item.as_deref(), Some(line.as_bytes()));
        }
        let all = lines.concat();
        let data: Vec<_> = events(all.as_bytes()).map(|event| event.data().to_vec()).collect();
        assert_eq!(data, [&br#"{"a":1}"#[..], br#"{"b":"\n"}"#, b"[DONE]"]);
        let text = "data: {\"a\":1}\n\ndata:{\"b\":\"\\n\"}\n\ndata: [DONE]\n\n";
        assert_eq!(regular(all.as_bytes()).unwrap(), text);
        assert_eq!(regular(text.as_bytes()), None);
    }
    // A chunk over several lines is one event still.
    let pretty = b"data: {\ndata:  \"a\": {}\ndata: }\n\n";
    assert_eq!(events(pretty).count(), 1);
    assert_eq!(regular(pretty), None);
}

#[test]
fn errors_are_known_by_their_name_and_bare_lines_are_data() {
    let named = b"event: error\ndata: {\"message\":\"x\"}\n\nevent: message\ndata: {}\n\n";
    let found: Vec<_> = events(named).map(|event| event.is_error()).collect();
    assert_eq!(found, [true, false]);
    let bare = b"{\"error\":{\"message\":\"x\"}}\n\n";
    let event = events(bare).next().unwrap();
    assert_eq!(event.data(), &bare[..bare.len() - 2]);
    assert_eq!(regular(bare).unwrap(), "data: {\"error\":{\"message\":\"x\"}}\n\n");
}

/// Each bare line is data, wherever it stands in its event and however many there are.
#[test]
fn several_bare_lines_stay_one_event_and_are_all_data() {
    for (item, expected) in [
        ("{\"a\":\n{\"b\"\n\n", "data: {\"a\":\ndata: {\"b\"\n\n"),
        ("id: 7\n{\"a\":1}\n\n", "id: 7\ndata: {\"a\":1}\n\n"),
        ("\u{feff}{\"a\":1}", "data: {\"a\":1}\n\n"),
    ] {
        let written = regular(item.as_bytes()).unwrap();
        assert_eq!(written, expected);
        assert_eq!(regular(&written), None);
        let data = |item: &[u8]| events(item).map(|event| event.data().to_vec()).collect::<Vec<_>>();
        assert_eq!(data(&written), data(item.as_bytes()));
    }
}

#[test]
fn a_stream_is_known_by_its_first_bytes() {
    for stream in [
        "data: {}",
        "\u{feff}data:",
        "\r\n : ping",
        "event: x",
        "id: 1",
        "retry: 1",
        ":",
    ] {
        assert_eq!(begins_as_events(stream.as_bytes()), Some(true), "{stream:?}");
    }
    for other in ["{", " [", "<html>", "date", "Internal Server Error"] {
        assert_eq!(begins_as_events(other.as_bytes()), Some(false), "{other:?}");
    }
    for undecided in ["", " \n", "da", "\u{feff}", "eve"] {
        assert_eq!(begins_as_events(undecided.as_bytes()), None, "{undecided:?}");
    }
    assert_eq!(begins_as_events(&[b' '; 5_000]), Some(false));
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(text in "(data: [a-z\\{\\}\":]{0,12}|: c|[d\n\r]|\n\n|\r\n\r\n|\r\r){0,24}", cuts in prop::collection::vec(0_usize..200, 0..6)) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        // Empty events are told apart by nobody, and a CR and LF in two chunks look like one.
        let data = |chunks: &[&[u8]]| {
            let mut splitter = EventSplitter::default();
            let mut items = Vec::new();
            for chunk in chunks {
                items.extend(splitter.push(Bytes::copy_from_slice(chunk), 0).unwrap());
            }
            items.extend(splitter.rest());
            let data: Vec<_> = items
                .iter()
                .flat_map(|item| events(item).map(|event| event.data().to_vec()).collect::<Vec<_>>())
                .filter(|data| !data.is_empty())
                .collect();
            (data, items.concat())
        };
        let (cut_data, cut_all) = data(&chunks);
        let (whole_data, _) = data(&[bytes]);
        let read: Vec<_> = events(bytes).map(|event| event.data().to_vec()).filter(|data| !data.is_empty()).collect();
        prop_assert_eq!(cut_all, bytes);
        prop_assert_eq!(&cut_data, &whole_data);
        prop_assert_eq!(&cut_data, &read);
    }

    #[test]
    fn ranges_cover_the_item(item in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), any::<u8>()], 0..80)) {
        let mut at = 0;
        for event in events(&item) {
            prop_assert_eq!(event.range().start, at);
            prop_assert!(event.range().end > at);
            at = event.range().end;
        }
        prop_assert_eq!(at, item.len());
    }
}

#[test]
fn a_large_event_is_held_in_the_room_it_has_and_the_next_one_apart_from_it() {
    const ROOM: usize = 300_000;
    let mut splitter = EventSplitter::default();
    let piece = Bytes::from(vec![b'x'; 100_000]);
    for buffered in [100_000, 200_000] {
        assert_eq!(splitter.push(piece.clone(), ROOM), Ok(None));
        assert_eq!(splitter.buffered(), buffered);
    }
    assert_eq!(splitter.buffered.capacity(), ROOM);
    let whole = splitter
        .push(Bytes::from_static(b"\n\ndata: a"), ROOM)
        .unwrap()
        .unwrap();
    assert_eq!((whole.len(), splitter.buffered()), (200_002, 7));
    assert!(splitter.buffered.capacity() < 1_000, "{}", splitter.buffered.capacity());
    assert_eq!(&splitter.rest().unwrap()[..], b"data: a");
}
