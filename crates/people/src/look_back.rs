//! Reading what changed lately, in pages, to its end or to a bound.

use std::future::Future;

/// How much is read: rows of one statement, and pages of one look.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    pub rows: u16,
    pub max: u16,
}

impl Default for Pages {
    /// As many rows together as there are marks of what has ended: more would not be remembered.
    fn default() -> Self {
        Self { rows: 10_000, max: 10 }
    }
}

/// What a look has found.
pub(super) struct PagedRows<T> {
    pub(super) rows: Vec<T>,
    /// Whether there may be more: then nothing that is cached of the kind can be believed.
    pub(super) is_cut: bool,
}

impl Pages {
    /// `page` gives at most so many rows that come after the one named, or the first.
    pub(super) async fn read<T, E, F>(self, page: impl Fn(Option<T>, i64) -> F) -> Result<PagedRows<T>, E>
    where
        T: Copy,
        F: Future<Output = Result<Vec<T>, E>>,
    {
        let mut rows: Vec<T> = Vec::new();
        for _ in 0..self.max {
            let more = page(rows.last().copied(), i64::from(self.rows)).await?;
            let is_last = more.len() < usize::from(self.rows);
            rows.extend(more);
            if is_last {
                return Ok(PagedRows { rows, is_cut: false });
            }
        }
        Ok(PagedRows { rows, is_cut: true })
    }
}

#[cfg(test)]
mod tests {
    use super::Pages;
    use std::convert::Infallible;

    async fn read(there: u64, pages: Pages) -> (Vec<u64>, bool) {
        let page = |last: Option<u64>, rows| async move {
            let next = last.map_or(0, |last| last + 1);
            let rows = u64::try_from(rows).unwrap();
            Ok::<_, Infallible>((next..there).take(rows.try_into().unwrap()).collect())
        };
        let found = pages.read(page).await.unwrap();
        (found.rows, found.is_cut)
    }

    #[tokio::test]
    async fn all_is_read_or_it_is_told_that_it_is_not() {
        let pages = Pages { rows: 3, max: 3 };
        for there in 0..9 {
            assert_eq!(read(there, pages).await, ((0..there).collect(), false), "{there}");
        }
        assert_eq!(read(100, pages).await, ((0..9).collect(), true));
    }
}
