//! The limit of files and connections that the process may have open.

/// Raises the limit of open files to the highest that the system allows, and returns the limit. It is usually 1,024 at first, and
/// idle clients would soon use all of that.
#[cfg(unix)]
pub fn take_all() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the number of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| most.try_into().unwrap_or(usize::MAX))
}

/// Returns the largest number, because there is no such limit on this system.
#[cfg(not(unix))]
pub const fn take_all() -> usize {
    usize::MAX
}
