//! A model's Markdown as HTML that is safe to show. What it writes is what anybody on the internet may have told it to write: it
//! can neither act on the page, nor cost more than its length is worth, nor hold up anybody else's page.

pub mod escape;
pub mod html;

mod cpu;
mod kept;
mod node;
mod render_slot;
mod writer;

use std::time::Duration;

use escape::escape;
use kept::Key;
use render_slot::RenderSlot;

use domain::ids::OrganizationId;

/// CPU time that one text may take; the largest that are rendered take some 5 ms. More without optimisation, which is tenfold
/// slower.
const MAX_CPU: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
/// CPU time that all texts of a page may take. What is beyond is shown plain this once; what was made is kept.
const MAX_CPU_OF_PAGE: Duration = Duration::from_secs(1);

/// Safe HTML of each text of a page, made off the async workers, in turn, and once: it is kept in memory by what the text is.
/// Plain text where it would cost too much, or where there is no turn for too long.
pub async fn render(organization: OrganizationId, texts: Vec<String>) -> Vec<String> {
    let keys: Vec<Key> = texts.iter().map(|text| Key::of(organization, text)).collect();
    let mut rendered: Vec<Option<String>> = keys.iter().map(kept::get).collect();
    let missing: Vec<usize> = (0..texts.len()).filter(|at| rendered[*at].is_none()).collect();
    if !missing.is_empty()
        && let Some(slot) = RenderSlot::wait(organization).await
    {
        let work: Vec<(Key, String)> = missing.iter().map(|at| (keys[*at], texts[*at].clone())).collect();
        for (at, html) in missing.into_iter().zip(render_in_slot(slot, work).await) {
            rendered[at] = html;
        }
    }
    let all = rendered.into_iter().zip(&texts);
    all.map(|(html, text)| html.unwrap_or_else(|| plain(text))).collect()
}

/// The same for one text that is still growing, or nothing if others are being rendered: for what can be left out.
pub async fn render_if_idle(organization: OrganizationId, text: String) -> Option<String> {
    let slot = RenderSlot::now(organization)?;
    let work = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        to_html(&text)
    });
    work.await.ok()
}

/// The turn ends with the work, even if whoever asked for it has gone away. Nothing for what there was no time for.
async fn render_in_slot(slot: RenderSlot, texts: Vec<(Key, String)>) -> Vec<Option<String>> {
    let work = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let begun = cpu::spent();
        texts
            .into_iter()
            .map(|(key, text)| {
                if cpu::spent().saturating_sub(begun) > MAX_CPU_OF_PAGE {
                    return None;
                }
                let html = to_html(&text);
                kept::keep(key, html.clone());
                Some(html)
            })
            .collect()
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
    let mut html =
        "<details class=\"thoughts\"><summary>Thoughts</summary><div class=\"text\" dir=\"auto\">".to_owned();
    escape(&mut html, text);
    html.push_str("</div></details>\n");
    html
}

fn plain(text: &str) -> String {
    let mut html = "<pre class=\"plain\" tabindex=\"0\" dir=\"auto\">".to_owned();
    escape(&mut html, text);
    html.push_str("</pre>");
    html
}

fn to_html(text: &str) -> String {
    let begun = cpu::spent();
    let is_over = || cpu::spent().saturating_sub(begun) > MAX_CPU;
    html::to_html(text, &is_over).unwrap_or_else(|too_much| {
        tracing::debug!(target: "mapleai::pages", ?too_much, bytes = text.len(), "an answer is shown plain");
        plain(text)
    })
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "`fuzz/` takes it as it is")]
mod families;
#[cfg(test)]
#[expect(unreachable_pub, reason = "`fuzz/` takes it as it is")]
mod shape;
#[cfg(test)]
mod tests;
