//! The file of acknowledgements: one JSON object a line, so that a later run can read them all back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::call::Call;

/// A successful answer to a command, as a line of the file: `{"call","id","version","key"}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Acknowledgement<'a> {
    call: Call,
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// The order's version in the answer.
    version: u64,
    /// The `Idempotency-Key`.
    #[serde(borrow)]
    key: Cow<'a, str>,
}

impl<'a> Acknowledgement<'a> {
    pub(crate) fn new(call: Call, id: &'a str, version: u64, key: &'a str) -> Self {
        Self { call, id: id.into(), version, key: key.into() }
    }
}

/// The file to which acknowledgements are appended. After a successful [`CheckFile::finish`] it has every line that
/// [`CheckFile::append`] accepted.
pub(crate) struct CheckFile {
    out: Mutex<Out>,
}

struct Out {
    lines: BufWriter<File>,
    /// The first failure. Later lines may then be missing.
    failed: Option<io::Error>,
}

/// The length of the longest line, in bytes.
const LONGEST_LINE: u64 = 4096;

impl CheckFile {
    /// Opens a file to append to, or creates it. It cuts off an unfinished last line, whose writer was killed.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_at_end(path).with_context(|| format!("the check file {}", path.display()))
    }

    fn open_at_end(path: &Path) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let tail_begins = length.saturating_sub(LONGEST_LINE);
        file.seek(SeekFrom::Start(tail_begins))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let lines_end = match tail.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => tail_begins + newline as u64 + 1,
            None if tail_begins == 0 && (tail.is_empty() || tail[0] == b'{') => 0,
            None => bail!("has no acknowledgements at its end"),
        };
        file.set_len(lines_end)?;
        file.seek(SeekFrom::Start(lines_end))?;
        Ok(Self { out: Mutex::new(Out { lines: BufWriter::with_capacity(1 << 16, file), failed: None }) })
    }

    pub(crate) fn append(&self, acknowledged: &Acknowledgement<'_>) -> Result<(), WriteError> {
        let mut out = self.out.lock();
        let written = serde_json::to_writer(&mut out.lines, acknowledged)
            .map_err(io::Error::from)
            .and_then(|()| out.lines.write_all(b"\n"));
        written.map_err(|error| {
            out.failed.get_or_insert(error);
            WriteError
        })
    }

    /// Writes all lines to the disk. If it fails, lines may be missing from the file.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut out = self.out.lock();
        if let Some(error) = out.failed.take() {
            return Err(error);
        }
        out.lines.flush()?;
        out.lines.get_ref().sync_all()
    }
}

/// The line may not be in the file; [`CheckFile::finish`] returns the reason.
pub(crate) struct WriteError;

/// The state that an order must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// It has at least this version.
    pub(crate) version: u64,
    /// Its processing was acknowledged, so it comes to an end.
    pub(crate) processed: bool,
}

/// Reads the expected state of each order. An unfinished last line is no acknowledgement.
pub(crate) fn read(path: &Path) -> anyhow::Result<HashMap<String, Expected>> {
    let file = File::open(path).with_context(|| format!("the check file {}", path.display()))?;
    let mut lines = BufReader::new(file);
    let mut orders = HashMap::<String, Expected>::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        lines.read_line(&mut line)?;
        if !line.ends_with('\n') {
            break;
        }
        let acknowledged: Acknowledgement<'_> = serde_json::from_str(&line)
            .with_context(|| format!("{} line {number} is not an acknowledgement", path.display()))?;
        let expected = orders.entry(acknowledged.id.into_owned()).or_default();
        expected.version = expected.version.max(acknowledged.version);
        expected.processed |= acknowledged.call == Call::Process;
    }
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn append(path: &Path, lines: &[Acknowledgement<'_>]) {
        let check = CheckFile::open(path).unwrap();
        for line in lines {
            assert!(check.append(line).is_ok());
        }
        check.finish().unwrap();
    }

    #[test]
    fn what_was_appended_is_read_with_the_greatest_version_of_each_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("check");
        append(
            &path,
            &[
                Acknowledgement::new(Call::Create, "a", 1, "k1"),
                Acknowledgement::new(Call::Create, "b", 1, "k2"),
            ],
        );
        append(&path, &[Acknowledgement::new(Call::Process, "a", 2, "k3")]);

        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some(r#"{"call":"create","id":"a","version":1,"key":"k1"}"#));
        let orders = read(&path).unwrap();
        assert_eq!(orders["a"], Expected { version: 2, processed: true });
        assert_eq!(orders["b"], Expected { version: 1, processed: false });
    }

    #[test]
    fn a_line_that_was_not_finished_is_no_acknowledgement_and_spoils_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("check");
        append(&path, &[Acknowledgement::new(Call::Create, "a", 1, "k1")]);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);

        append(&path, &[Acknowledgement::new(Call::Create, "b", 1, "k2")]);
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_file_of_something_else_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "a note").unwrap();
        assert!(CheckFile::open(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a note");
        fs::write(&path, "a note\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("notes line 1 is not an acknowledgement"));
    }
}
