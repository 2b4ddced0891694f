//! A model's Markdown as HTML that is safe to show: rendered by comrak without raw HTML, then reduced by ammonia to what
//! Markdown can make. Two fences, since what a model writes is what anybody on the internet may have told it to write.

use std::{borrow::Cow, sync::LazyLock};

use ammonia::Builder;
use comrak::{Options, markdown_to_html};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longer texts are shown plain: rendering them would cost more than it helps.
const LONGEST: usize = 512 * 1024;

static SANITIZER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .tags(
            [
                "a",
                "blockquote",
                "br",
                "code",
                "del",
                "em",
                "h1",
                "h2",
                "h3",
                "h4",
                "h5",
                "h6",
                "hr",
                "input",
                "li",
                "ol",
                "p",
                "pre",
                "strong",
                "sup",
                "table",
                "tbody",
                "td",
                "th",
                "thead",
                "tr",
                "ul",
            ]
            .into(),
        )
        .generic_attributes(["align"].into())
        .tag_attributes(
            [
                ("a", ["href", "title"].into()),
                ("code", ["class"].into()),
                ("input", ["type", "checked", "disabled"].into()),
                ("ol", ["start"].into()),
            ]
            .into(),
        )
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            // The language of a code block, and nothing that could borrow a class of ours.
            ("code", "class") => {
                let language = value.strip_prefix("language-")?;
                let plain = language
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-#._".contains(&byte));
                plain.then_some(Cow::Borrowed(value))
            }
            ("input", "type") => (value == "checkbox").then_some(Cow::Borrowed(value)),
            _ => Some(Cow::Borrowed(value)),
        })
        .url_schemes(["http", "https", "mailto"].into())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"));
    builder
});

static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut options = Options::default();
    options.extension.strikethrough = true;
    options.extension.table = true;
    options.extension.tasklist = true;
    options.extension.autolink = true;
    // Raw HTML is shown as the text it is, rather than dropped: in a chat it is usually what was asked for.
    options.render.escape = true;
    options
});

/// Renderings at a time: each keeps a core busy, for long if somebody wants it to.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new(cores)
});

/// Safe HTML of each text, made off the async workers and in turn.
pub async fn render(texts: Vec<String>) -> Vec<String> {
    match TURNS.acquire().await {
        Ok(turn) => rendered(turn, texts).await,
        Err(_) => texts.iter().map(|text| plain(text)).collect(),
    }
}

/// The same for one text, or nothing if others are being rendered: for what can be left out.
pub async fn render_if_idle(text: String) -> Option<String> {
    let turn = TURNS.try_acquire().ok()?;
    rendered(turn, vec![text]).await.pop()
}

/// The turn ends with the work, even if whoever asked for it has gone away.
async fn rendered(turn: SemaphorePermit<'static>, texts: Vec<String>) -> Vec<String> {
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        texts.iter().map(|text| to_html(text)).collect()
    });
    work.await.unwrap_or_default()
}

/// What a model thought before it answered, folded; nothing if it did not. Plain text, so that it costs next to nothing while it
/// grows.
pub fn thoughts(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    format!(
        "<details class=\"thoughts\"><summary>Thoughts</summary><div class=\"text\" dir=\"auto\">{}</div></details>\n",
        ammonia::clean_text(text)
    )
}

fn plain(text: &str) -> String {
    format!("<pre>{}</pre>", ammonia::clean_text(text))
}

/// Safe HTML. Unfinished Markdown, as while an answer grows, renders as far as it goes.
fn to_html(markdown: &str) -> String {
    if markdown.len() > LONGEST {
        return plain(markdown);
    }
    SANITIZER.clean(&markdown_to_html(markdown, &OPTIONS)).to_string()
}

#[cfg(test)]
mod tests {
    use super::{render, to_html};
    use proptest::prelude::*;

    #[tokio::test]
    async fn the_thread_that_serves_goes_on_meanwhile() {
        let slow = "*a **b `c` [d](e) ".repeat(20_000);
        let rendering = render(vec![slow]);
        let mut served = 0_u32;
        tokio::select! {
            rendered = rendering => assert_eq!(rendered.len(), 1),
            () = async { loop { served += 1; tokio::task::yield_now().await } } => {}
        }
        assert!(served > 10, "{served} turns");
    }

    #[test]
    fn renders_what_models_write() {
        let html = to_html("# T\n\n**b** `c`\n\n```rust\nfn x<T>() {}\n```\n\n| a |\n|---|\n| b |\n\n- [x] done");
        for part in [
            "<h1>T</h1>",
            "<strong>b</strong>",
            "<code class=\"language-rust\">fn x&lt;T&gt;() {}",
            "<table>",
            "checked",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(
            to_html("```python\nprint(1").contains("print(1"),
            "an unclosed fence while streaming"
        );
        assert!(to_html("https://example.com").contains("rel=\"noopener noreferrer nofollow\""));
    }

    #[test]
    fn nothing_runs_and_nothing_loads() {
        for attack in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "![x](https://evil.example/p.png)",
            "<a href=\"data:text/html,x\">x</a>",
            "[x](JaVaScRiPt:alert(1))",
            "<iframe src=//evil.example>",
            "```\"><script>\nx\n```",
            "<style>*{}</style>",
            "<svg/onload=alert(1)>",
            "[x](/sign-out)",
        ] {
            let html = to_html(attack);
            let lower = html.to_lowercase();
            for forbidden in [
                "<script",
                "<img",
                "<iframe",
                "<style",
                "<svg",
                "<a href=\"javascript",
                "<a href=\"data",
                "<a href=\"/",
            ] {
                assert!(!lower.contains(forbidden), "{attack} -> {html}");
            }
        }
    }

    proptest! {
        #[test]
        fn only_known_tags_come_out(text in "[<>a-z\"'=\\[\\]()!`*_:/ \n#|&;-]{0,200}") {
            let html = to_html(&text);
            let opened = html.split('<').skip(1).map(|rest| rest.trim_start_matches('/'));
            for tag in opened {
                let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
                prop_assert!(["a","blockquote","br","code","del","em","h1","h2","h3","h4","h5","h6","hr","input","li","ol","p","pre","strong","sup","table","tbody","td","th","thead","tr","ul"].contains(&name.as_str()), "{} in {}", name, html);
            }
        }
    }
}
