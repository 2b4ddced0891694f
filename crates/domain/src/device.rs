//! What a browser calls itself, in words that its owner recognises.

/// In the order in which they are looked for: most browsers claim to be others as well.
const BROWSERS: [(&str, &str); 8] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrom", "Chrome"),
    ("CriOS/", "Chrome"),
];
/// The one that nearly all others claim to be.
const SAFARI: (&str, &str) = ("Safari/", "Safari");
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Mac OS X", "Mac"),
    ("Linux", "Linux"),
];

/// Such as `Firefox on Windows`. Nothing but words that stand here: a header may say anything, and more of it would be kept
/// than is needed to tell one's own devices apart.
pub fn of_user_agent(header: &str) -> Option<String> {
    let find = |words: &[(&str, &'static str)]| {
        let found = words.iter().find(|(mark, _)| header.contains(mark));
        found.map(|(_, name)| *name)
    };
    let browser = find(&BROWSERS).or_else(|| find(&[SAFARI]));
    match (browser, find(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (Some(browser), None) => Some(browser.to_owned()),
        (None, Some(system)) => Some(format!("Browser on {system}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::of_user_agent;

    #[test]
    fn browsers_are_told_apart_although_they_claim_to_be_each_other() {
        for (header, device) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Safari/605.1.15",
                "Safari on Mac",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/143.0 Mobile/15E148 Safari/604.1",
                "Chrome on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64)", "Browser on Linux"),
        ] {
            assert_eq!(of_user_agent(header).as_deref(), Some(device), "{header}");
        }
        for nothing in ["", "curl/8.0", "<script>"] {
            assert_eq!(of_user_agent(nothing), None);
        }
    }
}
