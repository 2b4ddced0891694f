//! Who may call a route.

/// The authority a route asks for. Each route in the table has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody.
    Open,
    /// Anybody, by a form of our own pages: a post from another site is refused.
    OpenForm,
    /// A signed-in person: access token, or the page's cookie with its anti-forgery token.
    Session,
    /// A signed-in person's browser; others are led to the sign-in page.
    Page,
    /// A program: API key or access token.
    Program,
    /// Anybody; whoever holds the operations token is told more.
    Probe,
    /// Whoever holds the operations token.
    Operator,
}
