//! Pages of streams' heads: how far each stream is, without what is in it. The same for every variant.

use event_sourcing::{StreamId, Version};

/// A page of streams, each with the version of its last event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Each stream once.
    pub streams: Vec<(StreamId, Version)>,
    /// Where the next page begins: behind this stream; `None` after the last page.
    pub next: Option<String>,
}

/// What a page of commits, in the order of their streams, says of the streams.
#[cfg(any(feature = "embedded", feature = "mongodb"))]
pub(crate) struct HeadsPage {
    streams: Vec<(String, i64)>,
    /// There may be more commits, also of the last stream.
    is_full: bool,
}

#[cfg(any(feature = "embedded", feature = "mongodb"))]
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

    /// The one stream that fills the page, whose end is to be looked up.
    pub(crate) fn long_stream(&self) -> Option<&str> {
        match self.streams.as_slice() {
            [(stream, _)] if self.is_full => Some(stream),
            _ => None,
        }
    }

    /// The page, once the end of a long stream was looked up.
    pub(crate) fn page(mut self, long: Option<i64>) -> Heads {
        if let (Some(end), Some((_, version))) = (long, self.streams.first_mut()) {
            *version = end.max(*version);
        } else if self.is_full {
            // It may go on, and is read whole with the next page.
            self.streams.pop();
        }
        let next = self.streams.last().filter(|_| self.is_full).map(|(stream, _)| stream.clone());
        let head = |(stream, end): (String, i64)| {
            let version = Version::new(u64::try_from(end).ok()?);
            // A name that is none is told by whoever reads the stream.
            Some((StreamId::parse(&stream).ok()?, version))
        };
        Heads { streams: self.streams.into_iter().filter_map(head).collect(), next }
    }
}

#[cfg(all(test, any(feature = "embedded", feature = "mongodb")))]
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
