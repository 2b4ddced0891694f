//! Writing HTML node by node, within bounds.

use comrak::{
    Node,
    arena_tree::NodeEdge,
    nodes::{AstNode, ListType, NodeLink, NodeValue, TableAlignment},
};

use super::{
    escape::{escape, escape_url, is_safe_url},
    html::{MAX_DEPTH, TooMuch},
    node::{is_formula, is_heading, is_second, is_tight, language},
};

pub(super) struct Writer<'o> {
    html: String,
    max: usize,
    is_over: &'o dyn Fn() -> bool,
    depth: usize,
    /// Links around this place: one in another is none in HTML.
    links: usize,
    /// Within the first row of a table.
    heading_row: bool,
    alignments: Vec<TableAlignment>,
    column: usize,
}

impl<'o> Writer<'o> {
    pub(super) fn new(max: usize, is_over: &'o dyn Fn() -> bool) -> Self {
        Self {
            html: String::new(),
            max,
            is_over,
            depth: 0,
            links: 0,
            heading_row: false,
            alignments: Vec::new(),
            column: 0,
        }
    }

    pub(super) fn write(mut self, root: Node<'_>) -> Result<String, TooMuch> {
        for (step, edge) in root.traverse().enumerate() {
            if step % 256 == 255 && (self.is_over)() {
                return Err(TooMuch::Time);
            }
            match edge {
                NodeEdge::Start(node) => {
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(TooMuch::Depth);
                    }
                    self.open(node);
                }
                NodeEdge::End(node) => {
                    self.depth -= 1;
                    self.close(node);
                }
            }
            if self.html.len() > self.max {
                return Err(TooMuch::Html);
            }
        }
        Ok(self.html)
    }

    fn open(&mut self, node: &AstNode<'_>) {
        let data = node.data();
        match &data.value {
            NodeValue::Paragraph if is_tight(node) => {}
            NodeValue::Paragraph => self.block("<p", ">"),
            NodeValue::Heading(heading) => {
                let (open, _) = HEADINGS[usize::from(heading.level).saturating_sub(1).min(5)];
                self.block(open, ">");
            }
            NodeValue::BlockQuote => self.block("<blockquote", ">\n"),
            NodeValue::List(list) => match list.list_type {
                ListType::Bullet => self.block("<ul", ">\n"),
                ListType::Ordered if list.start == 1 => self.block("<ol", ">\n"),
                ListType::Ordered => {
                    self.block("<ol", " start=\"");
                    self.html.push_str(&list.start.to_string());
                    self.html.push_str("\">\n");
                }
            },
            NodeValue::Item(_) => self.html.push_str("<li>"),
            NodeValue::TaskItem(task) => self.html.push_str(match task.symbol {
                Some(_) => "<li><input type=\"checkbox\" checked disabled aria-label=\"Done\"> ",
                None => "<li><input type=\"checkbox\" disabled aria-label=\"To do\"> ",
            }),
            NodeValue::ThematicBreak => self.html.push_str("<hr>\n"),
            NodeValue::CodeBlock(code) => {
                self.html.push_str("<pre tabindex=\"0\" dir=\"ltr\"><code");
                if let Some(language) = language(&code.info) {
                    self.html.push_str(" class=\"language-");
                    self.html.push_str(language);
                    self.html.push('"');
                }
                self.html.push('>');
                escape(&mut self.html, &code.literal);
                self.html.push_str("</code></pre>\n");
            }
            NodeValue::HtmlBlock(html) => {
                self.block("<p", ">");
                escape(&mut self.html, html.literal.trim_end());
                self.html.push_str("</p>\n");
            }
            NodeValue::Table(table) => {
                self.alignments.clone_from(&table.alignments);
                // The box scrolls and not the table, whose columns would be squeezed to fit before.
                self.block("<div class=\"table\"", " tabindex=\"0\"><table>\n");
            }
            NodeValue::TableRow(is_heading) => {
                self.heading_row = *is_heading;
                self.column = 0;
                self.html.push_str(match is_heading {
                    true => "<thead>\n<tr>",
                    // The first row of the body.
                    false if is_second(node) => "<tbody>\n<tr>",
                    false => "<tr>",
                });
            }
            NodeValue::TableCell => {
                self.html.push_str(if self.heading_row { "<th" } else { "<td" });
                self.html.push_str(match self.alignments.get(self.column) {
                    Some(TableAlignment::Left) => " align=\"left\">",
                    Some(TableAlignment::Center) => " align=\"center\">",
                    Some(TableAlignment::Right) => " align=\"right\">",
                    _ => ">",
                });
                self.column += 1;
            }
            NodeValue::Text(text) => escape(&mut self.html, text),
            // A line that somebody broke is one, as in a poem or an address.
            NodeValue::SoftBreak | NodeValue::LineBreak => self.html.push_str("<br>\n"),
            NodeValue::Code(code) => {
                self.html.push_str("<code>");
                escape(&mut self.html, &code.literal);
                self.html.push_str("</code>");
            }
            NodeValue::HtmlInline(html) => escape(&mut self.html, html),
            NodeValue::Emph => self.html.push_str("<em>"),
            NodeValue::Strong => self.html.push_str("<strong>"),
            NodeValue::Strikethrough => self.html.push_str("<del>"),
            NodeValue::Subscript => self.html.push_str(if is_formula(node) { "<sub>" } else { "~" }),
            NodeValue::Link(link) => self.open_link(link),
            NodeValue::Image(link) => {
                self.open_link(link);
                if node.first_child().is_none() {
                    escape(&mut self.html, &link.url);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, node: &AstNode<'_>) {
        let data = node.data();
        self.html.push_str(match &data.value {
            // Two in a tight list would run into each other.
            NodeValue::Paragraph if is_tight(node) && node.next_sibling().is_some() => "\n",
            NodeValue::Paragraph if is_tight(node) => "",
            NodeValue::Paragraph => "</p>\n",
            NodeValue::Heading(heading) => HEADINGS[usize::from(heading.level).saturating_sub(1).min(5)].1,
            NodeValue::BlockQuote => "</blockquote>\n",
            NodeValue::List(list) => match list.list_type {
                ListType::Bullet => "</ul>\n",
                ListType::Ordered => "</ol>\n",
            },
            NodeValue::Item(_) | NodeValue::TaskItem(_) => "</li>\n",
            NodeValue::Table(table) => {
                if table.num_rows > 0 && node.last_child().is_some_and(|row| !is_heading(row)) {
                    "</tbody>\n</table></div>\n"
                } else {
                    "</table></div>\n"
                }
            }
            NodeValue::TableRow(true) => "</tr>\n</thead>\n",
            NodeValue::TableRow(false) => "</tr>\n",
            NodeValue::TableCell if self.heading_row => "</th>",
            NodeValue::TableCell => "</td>",
            NodeValue::Emph => "</em>",
            NodeValue::Strong => "</strong>",
            NodeValue::Strikethrough => "</del>",
            NodeValue::Subscript if is_formula(node) => "</sub>",
            NodeValue::Subscript => "~",
            NodeValue::Link(link) | NodeValue::Image(link) if is_safe_url(&link.url) => {
                self.links -= 1;
                if self.links == 0 { "</a>" } else { "" }
            }
            _ => "",
        });
    }

    /// The beginning of a block. Each outermost one finds its direction by its own text.
    fn block(&mut self, open: &str, rest: &str) {
        self.html.push_str(open);
        // Below the document, and with itself.
        if self.depth <= 2 {
            self.html.push_str(" dir=\"auto\"");
        }
        self.html.push_str(rest);
    }

    /// Also of a picture, which is not loaded: whoever wrote the answer would learn who reads it.
    fn open_link(&mut self, link: &NodeLink) {
        if !is_safe_url(&link.url) {
            return;
        }
        self.links += 1;
        if self.links > 1 {
            return;
        }
        self.html.push_str("<a href=\"");
        escape_url(&mut self.html, &link.url);
        if !link.title.is_empty() {
            self.html.push_str("\" title=\"");
            escape(&mut self.html, &link.title);
        }
        self.html
            .push_str("\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">");
    }
}

/// A message stands below the page's title and its own, so its headings begin with the third level.
const HEADINGS: [(&str, &str); 6] = [
    ("<h3", "</h3>\n"),
    ("<h4", "</h4>\n"),
    ("<h5", "</h5>\n"),
    ("<h6", "</h6>\n"),
    ("<h6", "</h6>\n"),
    ("<h6", "</h6>\n"),
];
