//! What a node is, by where it stands and what is in it.

use comrak::nodes::{AstNode, NodeValue};

pub(super) fn is_tight(paragraph: &AstNode<'_>) -> bool {
    let list = paragraph.parent().and_then(comrak::arena_tree::Node::parent);
    list.is_some_and(|list| matches!(&list.data().value, NodeValue::List(list) if list.tight))
}

pub(super) fn is_heading(row: &AstNode<'_>) -> bool {
    matches!(row.data().value, NodeValue::TableRow(true))
}

pub(super) fn is_second(row: &AstNode<'_>) -> bool {
    row.previous_sibling().is_some_and(is_heading)
}

/// `H~2~O`, and not `5~10 or 20~30`.
pub(super) fn is_formula(subscript: &AstNode<'_>) -> bool {
    let text = |node: &AstNode<'_>| match &node.data().value {
        NodeValue::Text(text) => text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        _ => false,
    };
    subscript
        .first_child()
        .is_some_and(|child| child.next_sibling().is_none() && text(child))
}

/// The language of a code block, and nothing that could borrow a class of ours.
pub(super) fn language(info: &str) -> Option<&str> {
    let language = info.split([' ', '\t', ',', '{']).next()?;
    let plain = language
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-#._".contains(&byte));
    (plain && !language.is_empty() && language.len() <= 64).then_some(language)
}
