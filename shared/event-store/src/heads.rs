//! Pages of streams' heads: the version of each stream, without its events. All variants share this code.

use event_sourcing::{StreamId, Version};

/// A page of streams, each with the version of its last event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Each stream once.
    pub streams: Vec<(StreamId, Version)>,
    /// The stream after which the next page begins; `None` after the last page.
    pub next: Option<String>,
}

/// The streams' heads from a page of commits in the order of their streams.
#[cfg(any(feature = "embedded", feature = "mongodb", feature = "postgres"))]
pub(crate) struct HeadsPage {
    streams: Vec<(String, i64)>,
    /// True if there may be more commits, also of the last stream.
    is_full: bool,
}

#[cfg(any(feature = "embedded", feature = "mongodb", feature = "postgres"))]
impl HeadsPage {
    pub(crate) fn new(limit: usize, commits: Vec<(String, i64)>) -> Self {
        let is_full = commits.len() >= limit;
        let mut streams: Vec<(String, i64)> = Vec::with_capacity(commits.len());
        for (stream, end) in commits {
            match streams.last_mut() {
                Some((last, version)) if *last == stream => *version = end.max(*version),
                _ => streams.push((stream, end)),
            }
        }
        Self { streams, is_full }
    }

    /// Returns the one stream that fills the whole page. The caller must look up its head.
    pub(crate) fn long_stream(&self) -> Option<&str> {
        match self.streams.as_slice() {
            [(stream, _)] if self.is_full => Some(stream),
            _ => None,
        }
    }

    /// Returns the page. `long` is the head of the stream that [`HeadsPage::long_stream`] returned.
    pub(crate) fn page(mut self, long: Option<i64>) -> Heads {
        if let (Some(end), Some((_, version))) = (long, self.streams.first_mut()) {
            *version = end.max(*version);
        } else if self.is_full {
            // The last stream may go on, so the next page reads it whole.
            self.streams.pop();
        }
        let next = self.streams.last().filter(|_| self.is_full).map(|(stream, _)| stream.clone());
        let head = |(stream, end): (String, i64)| {
            let version = Version::new(u64::try_from(end).ok()?);
            // An invalid name is skipped here. A read of that stream reports it.
            Some((StreamId::parse(&stream).ok()?, version))
        };
        Heads { streams: self.streams.into_iter().filter_map(head).collect(), next }
    }
}

#[cfg(all(test, any(feature = "embedded", feature = "mongodb", feature = "postgres")))]
mod tests {
    use super::*;

    fn ends(limit: usize, commits: &[(&str, i64)]) -> HeadsPage {
        HeadsPage::new(limit, commits.iter().map(|(stream, end)| ((*stream).to_owned(), *end)).collect())
    }

    fn shown(heads: &Heads) -> Vec<(&str, u64)> {
        heads.streams.iter().map(|(stream, version)| (stream.as_str(), version.get())).collect()
    }

    #[test]
    fn a_stream_that_may_go_on_is_left_to_the_next_page() {
        let page = ends(4, &[("a", 1), ("a", 3), ("b", 1), ("c", 1)]).page(None);
        assert_eq!((shown(&page), page.next.as_deref()), (vec![("a", 3), ("b", 1)], Some("b")));
    }

    #[test]
    fn the_last_page_has_all_and_no_next() {
        let page = ends(4, &[("a", 1), ("b", 2)]).page(None);
        assert_eq!((shown(&page), &page.next), (vec![("a", 1), ("b", 2)], &None));
        assert_eq!(ends(4, &[]).page(None), Heads::default());
    }

    #[test]
    fn the_end_of_a_stream_that_fills_a_page_is_looked_up() {
        let long = ends(2, &[("a", 1), ("a", 2)]);
        assert_eq!(long.long_stream(), Some("a"));
        let page = long.page(Some(9));
        assert_eq!((shown(&page), page.next.as_deref()), (vec![("a", 9)], Some("a")));
    }
}
