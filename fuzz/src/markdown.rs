//! Models' Markdown: only elements of ours come out, properly nested. What it costs is looked for by `cost/`.

#[path = "../../src/web/markdown/escape.rs"]
mod escape;
#[path = "../../src/web/markdown/html.rs"]
mod html;
#[path = "../../src/web/markdown/node.rs"]
mod node;
#[path = "../../src/web/markdown/shape.rs"]
mod shape;
#[path = "../../src/web/markdown/writer.rs"]
mod writer;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(rendered) = html::to_html(text, &|| false) {
        assert!(rendered.len() <= html::max_html(text.len()), "{} bytes", rendered.len());
        assert_eq!(shape::check(&rendered), Ok(()), "{rendered}");
    }
}
