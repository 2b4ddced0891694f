//! What comes out of Markdown, and what cannot.

use proptest::prelude::*;

use super::{OrganizationId, families::families, html, html::TooMuch, render, shape::check, thoughts, to_html};

#[tokio::test]
async fn the_thread_that_serves_goes_on_meanwhile() {
    let slow = "*a **b `c` [d](e) ".repeat(1_000);
    let rendering = render(OrganizationId::generate(), vec![slow]);
    let mut served = 0_u32;
    tokio::select! {
        rendered = rendering => assert_eq!(rendered.len(), 1),
        () = async { loop { served += 1; tokio::task::yield_now().await } } => {}
    }
    assert!(served > 10, "{served} turns");
}

#[tokio::test]
async fn a_text_is_rendered_once() {
    let organization = OrganizationId::generate();
    let texts = vec!["**a**".to_owned(), "b".to_owned()];
    let first = render(organization, texts.clone()).await;
    assert_eq!(
        first,
        ["<p dir=\"auto\"><strong>a</strong></p>\n", "<p dir=\"auto\">b</p>\n"]
    );
    // While somebody else of the organisation has its turn.
    let _slot = super::RenderSlot::now(organization).unwrap();
    assert_eq!(render(organization, texts).await, first);
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_sees_plain_text() {
    let organization = OrganizationId::generate();
    let _slot = super::RenderSlot::now(organization).unwrap();
    let rendered = render(organization, vec!["**a** <b>".to_owned()]).await;
    assert_eq!(
        rendered,
        ["<pre class=\"plain\" tabindex=\"0\" dir=\"auto\">**a** &lt;b&gt;</pre>"]
    );
}

#[test]
fn renders_what_models_write() {
    let html = to_html(
        "# T\n\n**b** `c`\n\n```rust\nfn x<T>() {}\n```\n\n| a | b |\n|---|:-:|\n| c | d |\n\n- [x] done\n- [ ] not\n\n3. c\n\n4. d\n",
    );
    for part in [
        "<h3 dir=\"auto\">T</h3>",
        "<strong>b</strong>",
        "<pre tabindex=\"0\" dir=\"ltr\"><code class=\"language-rust\">fn x&lt;T&gt;() {}\n</code></pre>",
        "<div class=\"table\" dir=\"auto\" tabindex=\"0\"><table>\n<thead>\n<tr><th>a</th><th align=\"center\">b</th></tr>\n</thead>\n<tbody>\n<tr><td>c</td><td align=\"center\">d</td></tr>\n</tbody>\n</table></div>",
        "<li><input type=\"checkbox\" checked disabled aria-label=\"Done\"> done</li>",
        "<li><input type=\"checkbox\" disabled aria-label=\"To do\"> not</li>",
        "<ol dir=\"auto\" start=\"3\">\n<li><p>c</p>\n</li>",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    let unclosed = to_html("```python\nprint(1");
    assert!(unclosed.contains("print(1"), "an unclosed fence while streaming");
    let link = to_html("https://example.com/a?b=c&d");
    assert!(
        link.contains(
            "<a href=\"https://example.com/a?b=c&amp;d\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">"
        ),
        "{link}"
    );
    assert_eq!(
        to_html("x\n===\n\n> a\n> b"),
        "<h3 dir=\"auto\">x</h3>\n<blockquote dir=\"auto\">\n<p>a<br>\nb</p>\n</blockquote>\n"
    );
}

/// Public reports: commonmark/commonmark-spec #650, omnigent #6618, gpt4all #2728.
#[test]
fn renders_as_people_expect() {
    for (markdown, part) in [
        ("**“引用”**的", "<strong>“引用”</strong>的"),
        ("**注意：**次に", "<strong>注意：</strong>次に"),
        ("one\ntwo", "one<br>\ntwo"),
        ("H~2~O", "H<sub>2</sub>O"),
        ("5~10 or 20~30", "5~10 or 20~30"),
        ("~~gone~~", "<del>gone</del>"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        (
            "![A picture](https://a.example/p.png)",
            "<a href=\"https://a.example/p.png\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">A picture</a>",
        ),
        ("![](https://a.example/p.png)", ">https://a.example/p.png</a>"),
        ("![A picture](data:x)", "<p dir=\"auto\">A picture</p>"),
        (
            "[![b](https://b.example)](https://a.example)",
            "<a href=\"https://a.example\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">b</a>",
        ),
    ] {
        let html = to_html(markdown);
        assert!(html.contains(part), "{markdown}: {html}");
    }
    assert_eq!(thoughts(" \n"), "");
    assert!(thoughts("a <b>\n\nc").contains("a &lt;b&gt;\n\nc</div></details>"));
}

#[test]
fn nothing_runs_and_nothing_loads() {
    for attack in [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](data:image/png;base64,x)",
        "<a href=\"data:text/html,x\">x</a>",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x]( javascript:alert(1))",
        "[x](https:sign-out)",
        "[x](//evil.example)",
        "[x](\\\\evil.example)",
        "<iframe src=//evil.example>",
        "```\"><script>\nx\n```",
        "``` x\" onclick=alert(1)\ny\n```",
        "<style>*{}</style>",
        "<svg/onload=alert(1)>",
        "[x](/sign-out)",
        "[x](https://a.example 'y\" onmouseover=alert(1) z=\"')",
        "<https://a.example/\"onmouseover=alert(1)>",
    ] {
        let html = to_html(attack);
        assert_eq!(check(&html), Ok(()), "{attack} -> {html}");
        for tag in html.split("<a ").skip(1) {
            assert!(tag.starts_with("href=\"https://a.example"), "{attack} -> {html}");
            assert!(
                tag.contains("rel=\"noopener noreferrer nofollow\""),
                "{attack} -> {html}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn only_what_we_write_comes_out(text in "([<>a-z\"'=\\[\\]()!`*_:/ \n#|&;~>-]|\\PC|https://|javascript:|- |\\| |\n\n|&#|\\[x\\]\\(){0,120}") {
        let html = to_html(&text);
        prop_assert_eq!(check(&html), Ok(()), "{}", html);
    }
}

/// In nodes and bytes, not seconds, which depend on the machine: parsing looks at both as it goes.
#[test]
fn hostile_texts_cost_no_more_than_they_are_long() {
    for (name, text) in families() {
        let rounds = std::cell::Cell::new(0_u32);
        let count = || {
            rounds.set(rounds.get() + 1);
            false
        };
        match html::to_html(&text, &count) {
            Ok(rendered) => {
                assert!(
                    rendered.len() <= html::max_html(text.len()),
                    "{name}: {} bytes",
                    rendered.len()
                );
                assert_eq!(check(&rendered), Ok(()), "{name}");
            }
            Err(too_much) => assert!(
                [TooMuch::Nodes, TooMuch::Depth, TooMuch::Html].contains(&too_much),
                "{name}: {too_much:?}"
            ),
        }
        // 256 steps each: of a line, an inline or a node. So many for each byte are allowed.
        let steps = u64::from(rounds.get()) * 256;
        assert!(
            steps <= 16 * text.len() as u64 + 60_000,
            "{name}: {steps} steps for {} bytes",
            text.len()
        );
    }
}

#[test]
fn the_work_looks_at_its_deadline() {
    let text = "a *b* ".repeat(2_000);
    assert_eq!(html::to_html(&text, &|| true), Err(TooMuch::Time));
    let (looks, calls) = (10, std::cell::Cell::new(0));
    let later = || {
        calls.set(calls.get() + 1);
        calls.get() > looks
    };
    assert_eq!(html::to_html(&text, &later), Err(TooMuch::Time));
    assert_eq!(calls.get(), looks + 1, "it goes on after its deadline");
    assert_eq!(
        html::to_html(&"x".repeat(html::MAX_TEXT + 1), &|| false),
        Err(TooMuch::Text)
    );
}
