//! Hostile Markdown. For the tests, and for `fuzz/`.

/// Families of text that cost more than they are long, where nothing bounds it.
pub fn families() -> Vec<(&'static str, String)> {
    let table = |columns: usize, rows: usize| {
        format!(
            "|{}\n|{}\n{}\n",
            "a|".repeat(columns),
            "-|".repeat(columns),
            "|b\n".repeat(rows)
        )
    };
    let fill = |unit: &str| unit.repeat(60_000 / unit.len());
    vec![
        ("quotes", fill(">")),
        ("quotes with spaces", fill("> ")),
        ("quotes and lists", fill("> - ")),
        ("quotes on many lines", (0..300).map(|n| ">".repeat(n) + "\n").collect()),
        ("lists", fill("- ")),
        ("numbers", fill("1. ")),
        (
            "lists, deeper each line",
            (0..300).map(|n| "  ".repeat(n) + "- a\n").collect(),
        ),
        ("a wide table", table(1_000, 480)),
        ("six wide tables", table(1_000, 480).repeat(6)),
        ("many narrow tables", table(2, 1).repeat(3_000)),
        ("a table of columns only", table(10_000, 0)),
        ("brackets", fill("[")),
        ("pictures", fill("![")),
        ("pictures in pictures", fill("![[")),
        ("links in links", fill("[a](")),
        ("links", fill("[a](b) ")),
        ("references", fill("[a][b] ")),
        (
            "definitions",
            (0..4_000).map(|n| format!("[a{n}]: b\n")).collect::<Vec<_>>().concat() + &"[a1]".repeat(4_000),
        ),
        (
            "one definition, used often",
            format!("[a]: {}\n\n{}", "x".repeat(20_000), "[a] ".repeat(8_000)),
        ),
        ("emphasis", fill("*a **a ")),
        ("emphasis of two kinds", fill("*a_ ")),
        (
            "emphasis, nested",
            format!("{}a{}", "*".repeat(30_000), "*".repeat(30_000)),
        ),
        (
            "emphasis, closed by threes",
            format!("x**x{}{}", " _x".repeat(10_000), "x* ".repeat(10_000)),
        ),
        ("strikes", fill("~~a~")),
        (
            "code marks of many lengths",
            (1..340)
                .map(|n| format!("e{}", "`".repeat(n)))
                .collect::<Vec<_>>()
                .concat(),
        ),
        ("entities", fill("&lt;")),
        ("escapes", fill("\\<")),
        ("text that grows", fill("\"")),
        ("mail addresses", fill("a@b.cd ")),
        ("mail addresses, unfinished", fill("a.b-c_d+")),
        ("addresses", fill("www.a.b ")),
        ("addresses with brackets", format!("http://a.b/{}", "(".repeat(50_000))),
        ("addresses, unfinished", fill("http://")),
        ("HTML", fill("<a ")),
        ("HTML, unfinished", fill("<!-- ")),
        ("CDATA, unfinished", fill("<![CDATA[")),
        ("declarations", fill("<!A ")),
        ("instructions", fill("<?")),
        ("blocks of code", fill("```\n")),
        ("breaks", fill("---\n")),
        ("headings", fill("# a\n")),
        ("headings by underlines", fill("a\n=\n")),
        ("line breaks", fill("a\n")),
        ("tasks", fill("- [x] a\n")),
        ("Chinese emphasis", fill("**“引”**的")),
        ("blank lines in quotes", fill(">\n")),
        ("tabs", fill(">\t-\t")),
    ]
}
