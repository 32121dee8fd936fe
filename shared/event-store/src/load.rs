//! Loads in pages, so that a long stream delays no other.
//!
//! The first page of each load is short, and one read answers those of many callers. A stream that goes on is read further in
//! pages of its own, one after the other, beside the reads of all others.

use event_sourcing::Version;

use crate::{EventStore, Load, StoreError, Stream, UnreadableStream, on_store};

/// The number of versions in the first page of a stream.
pub(crate) const FIRST_PAGE: u64 = 64;

/// The number of versions in each further page.
const PAGE: u64 = 1_000;

/// The reader of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// It merges the loads that wait.
    Shared,
    /// It reads one page at a time.
    Long,
}

impl Load {
    /// Returns the first page of this load.
    fn first_page(&self) -> Self {
        Self { limit: Some(self.limit.map_or(FIRST_PAGE, |limit| limit.min(FIRST_PAGE))), ..self.clone() }
    }

    /// Returns the page behind a version that was read; `None` if this load ends there.
    fn page_behind(&self, last: Version) -> Option<Self> {
        let left = self.until().get().checked_sub(last.get()).filter(|left| *left > 0)?;
        Some(Self { limit: Some(left.min(PAGE)), ..Self::after(self.stream.clone(), last) })
    }
}

/// Returns true if the stream may go on behind this page.
fn is_full(page: &Load, found: &Stream) -> bool {
    found.commits.last().is_some_and(|commit| commit.last_version() >= page.until())
}

/// One stream, or the problem that makes it unreadable.
type OneStream = Result<Stream, UnreadableStream>;

impl EventStore {
    /// Reads streams and returns them in the order of `loads`. Each has its own result: an unreadable stream fails no other.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn load_many(&self, loads: Vec<Load>) -> Result<Vec<OneStream>, StoreError> {
        let pages: Vec<Load> = loads.iter().map(Load::first_page).collect();
        let mut streams = self.load_pages(pages.clone(), Lane::Shared).await?;
        for ((load, page), stream) in loads.iter().zip(&pages).zip(&mut streams) {
            if stream.as_ref().is_ok_and(|found| is_full(page, found)) {
                self.load_rest(load, stream).await?;
            }
        }
        Ok(streams)
    }

    /// Reads one stream. One read answers all calls that are made at the same time.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when the stream can't be read.
    pub async fn load(&self, load: Load) -> Result<Stream, StoreError> {
        Ok(only(self.load_many(vec![load]).await?)??)
    }

    /// Reads the first page of a stream. Returns it, and whether the stream may go on.
    pub(crate) async fn load_first_page(&self, load: &Load) -> Result<(Stream, bool), StoreError> {
        let page = load.first_page();
        let found = only(self.load_pages(vec![page.clone()], Lane::Shared).await?)??;
        let goes_on = is_full(&page, &found);
        Ok((found, goes_on))
    }

    /// Reads the pages behind those that were read, up to the end of the load.
    async fn load_rest(&self, load: &Load, stream: &mut OneStream) -> Result<(), StoreError> {
        loop {
            let Ok(Stream { commits, .. }) = stream else { return Ok(()) };
            let last = commits.last().map_or(load.after, crate::Commit::last_version);
            let Some(page) = load.page_behind(last) else { return Ok(()) };
            match only(self.load_pages(vec![page.clone()], Lane::Long).await?)? {
                Ok(found) => {
                    let goes_on = is_full(&page, &found);
                    commits.extend(found.commits);
                    if !goes_on {
                        return Ok(());
                    }
                }
                Err(problem) => *stream = Err(problem),
            }
        }
    }

    async fn load_pages(&self, pages: Vec<Load>, lane: Lane) -> Result<Vec<OneStream>, StoreError> {
        on_store!(self, store => store.load_many(pages, lane).await)
    }
}

fn only(streams: Vec<OneStream>) -> Result<OneStream, StoreError> {
    streams.into_iter().next().ok_or_else(|| StoreError::Unavailable("no answer".into()))
}

#[cfg(test)]
mod tests {
    use event_sourcing::StreamId;

    use super::*;

    fn load(after: u64, limit: Option<u64>) -> Load {
        Load { limit, ..Load::after(StreamId::parse("a").unwrap(), Version::new(after)) }
    }

    #[test]
    fn a_load_is_read_in_pages_up_to_its_limit() {
        assert_eq!(load(7, None).first_page(), load(7, Some(FIRST_PAGE)));
        assert_eq!(load(7, Some(3)).first_page(), load(7, Some(3)));
        assert_eq!(load(0, None).page_behind(Version::new(70)), Some(load(70, Some(PAGE))));
        assert_eq!(load(7, Some(100)).page_behind(Version::new(71)), Some(load(71, Some(36))));
        for last in [107, 110] {
            assert_eq!(load(7, Some(100)).page_behind(Version::new(last)), None);
        }
    }
}
