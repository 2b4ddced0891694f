//! Short texts of callers: addresses, cursors, prices, names, passwords, the names of devices, filters of the audit log, and directives
//! of the made-up model; and thoughts of models.

#[path = "../../crates/provider/src/mock/directive.rs"]
mod directive;

use std::time::Duration;

use domain::{
    audit::{Action, ActorFilter},
    conversation::{MAX_TITLE_LENGTH, title_from},
    device::of_user_agent,
    email::Email,
    money::Price,
    page::Cursor,
    password::normalize,
    text::{block, line, title},
    thoughts::{Piece, Splitter},
};

pub fn check(data: &[u8]) {
    let Some((one, other)) = crate::cut(data) else { return };
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else {
        return;
    };
    let whole = [one, other].concat();
    if let Ok(email) = Email::parse(&whole) {
        assert_eq!(Email::parse(email.as_str()).as_ref(), Ok(&email));
        let folded = Email::parse(&email.folded());
        assert_eq!(folded.map(|again| again.folded()), Ok(email.folded()));
        let _ = email.folded_before();
    }
    if let Ok(cursor) = Cursor::decode(&whole) {
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        let _ = cursor.time();
    }
    if let Ok(price) = whole.parse::<Price>() {
        assert_eq!(price.to_string().parse(), Ok(price));
        let _ = price.of(u64::MAX);
    }
    let once = normalize(&whole).into_owned();
    assert_eq!(normalize(&once), once.as_str());
    for read in [line, title] {
        if let Ok(text) = read(&whole, 40) {
            assert!(
                !text.contains(char::is_control) && text.chars().count() <= 40,
                "{text:?}"
            );
            assert_eq!(read(&text, 40), Ok(text));
        }
    }
    assert!(title_from(&whole).chars().count() <= MAX_TITLE_LENGTH);
    if let Ok(actor) = whole.parse::<ActorFilter>() {
        assert_eq!(actor.as_str().parse(), Ok(actor));
    }
    if let Ok(action) = whole.parse::<Action>() {
        assert_eq!(action.as_str(), whole);
    }
    let directives = directive::Directives::of(&whole);
    assert!(directives.delay.is_none_or(|delay| delay <= Duration::from_secs(10)));
    let _ = (block(&whole, 40), of_user_agent(&whole));
    assert_eq!(thoughts(&[one, other]), thoughts(&[&whole]));
}

/// However a model's text is cut, its thoughts are told apart alike.
fn thoughts(pieces: &[&str]) -> Piece {
    let (mut splitter, mut all) = (Splitter::default(), Piece::default());
    let mut add = |piece: Piece| {
        all.text.push_str(&piece.text);
        all.thoughts.push_str(&piece.thoughts);
    };
    for piece in pieces {
        add(splitter.push(piece));
    }
    add(splitter.finish());
    all
}
