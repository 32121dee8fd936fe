//! The writer: it does all waiting writes as one transaction, and each write has its own outcome.

use std::sync::Arc;

use jiff::Timestamp;
use runtime::files::OpenedFile;
use runtime::{KillPoint, kill_point};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Statement, params};

use super::columns::number;
use super::failure::{check, unavailable};
use super::{reminders, snapshots};
use crate::jobs::Answer;
use crate::namespace::statements;
use crate::snapshots::SnapshotRow;
use crate::{CommandRecord, Commit, Mark, Namespace, ReminderPolicy, json};

/// One write.
pub(super) enum Task {
    Append(Arc<Commit>),
    AppendAll(Vec<Arc<Commit>>),
    Remember(CommandRecord),
    Mark(Vec<Mark>),
    Reminder(reminders::ReminderTask),
    Forget(Timestamp),
    Snapshots(Vec<SnapshotRow>),
}

/// A task, with the channel for the number of records that it changed. For an append or a small record, 0 is a conflict.
pub(super) struct Write {
    pub(super) task: Task,
    pub(super) answer: Answer<u64>,
}

pub(super) struct Writer {
    connection: Connection,
    opened: OpenedFile,
    sql: Statements,
    reminders: reminders::Writes,
    /// The buffer for the text of a commit, kept so that its memory is used again.
    text: Vec<u8>,
}

/// Guarantee: the commit begins right after the stream's last version. So no version is left out, and none is taken twice, not
/// even one in the middle of a commit. SQLite's write lock is held from this query to the insert. For version 1 the key of the
/// commit is enough, because a stream that has any commit has one at version 1.
const LAST_VERSION: &str =
    "SELECT version FROM {namespace}_commits WHERE stream = ?1 AND key < '' ORDER BY key DESC LIMIT 1";

/// The key lets no version be taken twice. `DO NOTHING` makes a conflict an outcome and not an error.
const ADD_COMMIT: &str = "
    INSERT INTO {namespace}_commits (stream, key, version, command_hash, recorded_at, events, command_id, metadata, awaits)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";

/// Guarantee: the key lets neither a commit nor a small record take a command id that the stream already has. `DO NOTHING` makes
/// a conflict an outcome and not an error.
const ADD_COMMAND: &str = "
    INSERT INTO {namespace}_commits (stream, key, version, command_hash) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

const UNDO_COMMIT: &str = "DELETE FROM {namespace}_commits WHERE stream = ?1 AND key = ?2";

const ADD_TO_OUTBOX: &str =
    "INSERT INTO {namespace}_outbox (stream, version, recorded_at) VALUES (?1, ?2, ?3)";

/// The key lets no small record take the command id of a commit or of another small record. `DO NOTHING` makes a conflict an
/// outcome.
const REMEMBER: &str = "
    INSERT INTO {namespace}_commits (stream, key, version, command_hash, recorded_at, rejection) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO NOTHING";

const MARK: &str = "DELETE FROM {namespace}_outbox WHERE stream = ?1 AND version = ?2";

/// Guarantee: the system's records never expire. A command's key begins with its kind, and `client` sorts before `system`. The index
/// has clients' records alone, so the number of the others costs nothing here.
const FORGET: &str = "
    DELETE FROM {namespace}_commits INDEXED BY {namespace}_small_records
    WHERE events IS NULL AND recorded_at IS NOT NULL AND key < 'system ' AND recorded_at < ?1";

statements! {
    Statements {
        last_version: LAST_VERSION,
        add_commit: ADD_COMMIT,
        add_command: ADD_COMMAND,
        undo_commit: UNDO_COMMIT,
        add_to_outbox: ADD_TO_OUTBOX,
        remember: REMEMBER,
        mark: MARK,
        forget: FORGET,
        put_snapshot: snapshots::PUT,
    }
}

impl Writer {
    pub(super) fn new(connection: Connection, namespace: &Namespace, opened: OpenedFile) -> Self {
        let (sql, reminders) = (Statements::of(namespace), reminders::Writes::of(namespace));
        Self { connection, opened, sql, reminders, text: Vec::new() }
    }

    /// Does all the writes and only then answers each of them. So a caller that gets an answer has its write on disk. When SQLite
    /// fails, none of the writes is done, and the next turn tries again.
    ///
    /// Guarantee: each acknowledged write is in the file at the path. SQLite goes on writing to a file that was deleted, so this
    /// function checks the file after each transaction, before it answers anybody.
    pub(super) fn work(&mut self, writes: &mut Vec<Write>) {
        let written = self.transact(writes).map_err(|error| unavailable(&error));
        match written.and_then(|changes| check(&self.opened).map(|()| changes)) {
            Ok(changes) => {
                for (write, changed) in writes.drain(..).zip(changes) {
                    // The caller may no longer wait, so a failed send is ignored.
                    let _ = write.answer.send(Ok(changed));
                }
            }
            Err(error) => {
                tracing::error!(%error, writes = writes.len(), "the event store was not written to");
                for write in writes.drain(..) {
                    let _ = write.answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn transact(&mut self, writes: &[Write]) -> rusqlite::Result<Vec<u64>> {
        let Self { connection, sql, reminders, text, .. } = self;
        // Immediate: SQLite waits for the lock now. In the middle of a transaction it could only fail.
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let batch = WriteBatch::of(connection, sql, reminders);
        let done = batch.and_then(|mut batch| batch.write_all(writes, text)).and_then(|changes| {
            kill_point(KillPoint::BeforeSqliteCommit);
            connection.prepare_cached("COMMIT")?.execute([])?;
            kill_point(KillPoint::AfterSqliteCommit);
            Ok(changes)
        });
        // After some errors SQLite has rolled back already.
        if done.is_err() && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        done
    }
}

/// The statements that every turn uses, looked up once for all its writes.
struct WriteBatch<'c> {
    connection: &'c Connection,
    sql: &'c Statements,
    reminders: &'c reminders::Writes,
    add_commit: CachedStatement<'c>,
    add_command: CachedStatement<'c>,
    add_to_outbox: CachedStatement<'c>,
    mark: CachedStatement<'c>,
}

impl<'c> WriteBatch<'c> {
    fn of(
        connection: &'c Connection,
        sql: &'c Statements,
        reminders: &'c reminders::Writes,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            sql,
            reminders,
            add_commit: connection.prepare_cached(&sql.add_commit)?,
            add_command: connection.prepare_cached(&sql.add_command)?,
            add_to_outbox: connection.prepare_cached(&sql.add_to_outbox)?,
            mark: connection.prepare_cached(&sql.mark)?,
        })
    }

    fn write_all(&mut self, writes: &[Write], text: &mut Vec<u8>) -> rusqlite::Result<Vec<u64>> {
        let done = writes.iter().map(|write| match &write.task {
            Task::Append(commit) => self.append(commit, text),
            Task::AppendAll(commits) => self.append_all(commits, text),
            Task::Remember(record) => self.remember(record),
            Task::Mark(marks) => self.mark(marks),
            Task::Reminder(task) => self.reminders.write(self.connection, task),
            Task::Snapshots(rows) => snapshots::put(self.connection, &self.sql.put_snapshot, rows),
            Task::Forget(before) => {
                let mut forget = self.connection.prepare_cached(&self.sql.forget)?;
                changed(&mut forget, params![before.as_microsecond()])
            }
        });
        done.collect()
    }

    /// Appends a commit. Returns 1, or 0 for a conflict. Each step is a statement by itself, because combined statements take
    /// twice the time. If a statement selects from the table into which it inserts, SQLite builds a table in memory. If one
    /// statement inserts both rows, SQLite keeps a copy of every page as it was.
    fn append(&mut self, commit: &Commit, text: &mut Vec<u8>) -> rusqlite::Result<u64> {
        json::write_events(&commit.events, text).map_err(no_text)?;
        let metadata = serde_json::to_string(&commit.metadata).map_err(no_text)?;
        let (stream, command_id) = (commit.stream.as_str(), commit.command_id.as_str());
        let (version, last_version) = (number(commit.version), number(commit.last_version()));
        let (hash, recorded_at) = (&commit.command_hash.0[..], commit.recorded_at.as_microsecond());
        if version != 1 && self.last_version_of(stream)? + 1 != version {
            return Ok(0);
        }
        let (events, awaits) = (JsonText(text), commit.awaits_outcome);
        let row =
            params![stream, version, last_version, hash, recorded_at, events, command_id, metadata, awaits];
        if changed(&mut self.add_commit, row)? == 0 {
            return Ok(0);
        }
        if changed(&mut self.add_command, params![stream, command_id, last_version, hash])? == 0 {
            self.connection.prepare_cached(&self.sql.undo_commit)?.execute(params![stream, version])?;
            return Ok(0);
        }
        if commit.unpublished {
            changed(&mut self.add_to_outbox, params![stream, version, recorded_at])?;
        }
        Ok(1)
    }

    /// Appends commits up to the first conflict. Returns 1, or 0 if there was one.
    fn append_all(&mut self, commits: &[Arc<Commit>], text: &mut Vec<u8>) -> rusqlite::Result<u64> {
        for commit in commits {
            if self.append(commit, text)? == 0 {
                return Ok(0);
            }
        }
        Ok(1)
    }

    fn last_version_of(&self, stream: &str) -> rusqlite::Result<i64> {
        let mut statement = self.connection.prepare_cached(&self.sql.last_version)?;
        Ok(statement.query_row([stream], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    fn mark(&mut self, marks: &[Mark]) -> rusqlite::Result<u64> {
        marks.iter().try_fold(0, |marked, Mark { commit, remind, ends }| {
            let stream = commit.stream.as_str();
            if *remind == ReminderPolicy::UntilFollowed {
                self.reminders.set(self.connection, commit)?;
            }
            if let Some(version) = ends {
                self.reminders.end(self.connection, stream, *version)?;
            }
            Ok(marked + changed(&mut self.mark, params![stream, number(commit.version)])?)
        })
    }

    fn remember(&self, record: &CommandRecord) -> rusqlite::Result<u64> {
        changed(
            &mut *self.connection.prepare_cached(&self.sql.remember)?,
            params![
                record.stream.as_str(),
                record.command_id.as_str(),
                number(record.version),
                &record.command_hash.0[..],
                record.recorded_at.as_microsecond(),
                record.rejection.as_deref(),
            ],
        )
    }
}

fn changed(statement: &mut Statement<'_>, values: &[&dyn ToSql]) -> rusqlite::Result<u64> {
    Ok(statement.execute(values)? as u64)
}

/// JSON for a text column, without a copy.
struct JsonText<'a>(&'a [u8]);

impl ToSql for JsonText<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

fn no_text(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use event_sourcing::testing::Event;
    use event_sourcing::{CommandId, EncodedEvent, StreamId, Version};
    use tokio::sync::oneshot;

    use super::super::file;
    use super::*;
    use crate::{CommandHash, Metadata, StoreError};

    type AnswerReceiver = oneshot::Receiver<Result<u64, StoreError>>;

    fn namespace() -> Namespace {
        Namespace::parse("tasks_task").unwrap()
    }

    fn writer(folder: &Path) -> Writer {
        let (path, connection) = file::open(&folder.join("events.db"), &namespace()).unwrap();
        Writer::new(connection, &namespace(), OpenedFile::at(&path).unwrap())
    }

    fn create(stream: usize) -> (Write, AnswerReceiver) {
        let commit = Commit {
            stream: StreamId::parse(&format!("task-{stream}")).unwrap(),
            version: Version::new(1),
            command_id: CommandId::system("create").unwrap(),
            command_hash: CommandHash([0; 32]),
            events: vec![EncodedEvent::encode(&Event::TaskOpened { title: "x".repeat(255) })],
            awaits_outcome: false,
            recorded_at: Timestamp::UNIX_EPOCH,
            metadata: Metadata::default(),
            unpublished: true,
        };
        let (answer, answered) = oneshot::channel();
        (Write { task: Task::Append(Arc::new(commit)), answer }, answered)
    }

    fn outcomes(writer: &mut Writer, streams: impl Iterator<Item = usize>) -> Vec<Result<u64, StoreError>> {
        let (mut writes, answers): (Vec<_>, Vec<_>) = streams.map(create).unzip();
        writer.work(&mut writes);
        assert!(writes.is_empty());
        answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect()
    }

    fn stored(writer: &Writer) -> i64 {
        writer
            .connection
            .query_row("SELECT count(*) FROM tasks_task_commits WHERE events IS NOT NULL", [], |row| {
                row.get(0)
            })
            .unwrap()
    }

    #[test]
    fn a_full_disk_fails_the_whole_turn_and_the_next_turn_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let limit = |writer: &Writer, pages: u32| {
            writer.connection.pragma_update(None, "max_page_count", pages).unwrap();
        };
        assert!(matches!(outcomes(&mut writer, 0..1)[..], [Ok(1)]));
        limit(&writer, 20);
        for outcome in outcomes(&mut writer, 0..200) {
            let Err(StoreError::Unavailable(problem)) = outcome else { panic!("{outcome:?}") };
            assert!(problem.contains("full"), "{problem}");
        }
        assert_eq!(stored(&writer), 1);
        limit(&writer, 1_000_000);
        let again = outcomes(&mut writer, 0..200);
        assert!(matches!(again[0], Ok(0)));
        assert!(again[1..].iter().all(|outcome| matches!(outcome, Ok(1))));
        assert_eq!(stored(&writer), 200);
    }

    #[test]
    fn a_first_commit_leaves_nothing_where_its_command_id_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let record = CommandRecord {
            stream: StreamId::parse("task-0").unwrap(),
            command_id: CommandId::system("create").unwrap(),
            command_hash: CommandHash([0; 32]),
            version: Version::NONE,
            rejection: None,
            recorded_at: Timestamp::UNIX_EPOCH,
        };
        let (answer, answered) = oneshot::channel();
        writer.work(&mut vec![Write { task: Task::Remember(record), answer }]);
        assert!(matches!(answered.blocking_recv().unwrap(), Ok(1)));
        assert!(matches!(outcomes(&mut writer, 0..2)[..], [Ok(0), Ok(1)]));
        assert_eq!(stored(&writer), 1);
    }

    #[test]
    fn nobody_is_answered_when_the_commit_fails() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        // SQLite checks this foreign key only at the commit. It refers to a row that does not exist, so the commit fails.
        let broken = "
            CREATE TABLE parent (name TEXT PRIMARY KEY);
            CREATE TABLE child (parent TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER broken AFTER INSERT ON tasks_task_commits BEGIN INSERT INTO child VALUES ('none'); END;
            PRAGMA foreign_keys = ON;";
        writer.connection.execute_batch(broken).unwrap();
        assert!(matches!(outcomes(&mut writer, 0..2)[..], [Err(_), Err(_)]));
        assert_eq!(stored(&writer), 0);
        writer.connection.execute_batch("DROP TRIGGER broken").unwrap();
        assert!(matches!(outcomes(&mut writer, 0..2)[..], [Ok(1), Ok(1)]));
    }
}
