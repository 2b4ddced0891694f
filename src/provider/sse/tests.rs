use bytes::Bytes;
use proptest::prelude::*;

use super::{EventSplitter, EventTooLarge, events};

fn split(chunks: &[&[u8]]) -> (Vec<u8>, usize) {
    let mut splitter = EventSplitter::default();
    let mut all = Vec::new();
    let mut count = 0;
    for chunk in chunks {
        if let Some(item) = splitter.push(Bytes::copy_from_slice(chunk)).unwrap() {
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
            let items = [before, after].map(|chunk| splitter.push(Bytes::copy_from_slice(chunk)).unwrap());
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
    let mebibyte = Bytes::from(vec![b'x'; 1024 * 1024]);
    assert_eq!(splitter.push(mebibyte), Ok(None));
    assert_eq!(splitter.push(Bytes::from_static(b"x")), Err(EventTooLarge));
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
                items.extend(splitter.push(Bytes::copy_from_slice(chunk)).unwrap());
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
