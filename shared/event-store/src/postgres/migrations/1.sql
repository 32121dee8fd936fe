-- A commit or a small record a row. Both begin with the stream, as both keys do, so that the rows of a stream are found together.
CREATE TABLE IF NOT EXISTS {namespace}_commits (
    version        bigint, -- of a commit's first event; NULL: the small record of a command without events
    last_version   bigint NOT NULL, -- of a commit's last event; the version that the command was answered with
    recorded_at    bigint NOT NULL, -- microseconds since 1970, by the clock of the process
    answered_at    timestamptz, -- of small records that expire, by the clock of the server
    awaits_outcome boolean NOT NULL, -- the last event asks for another, which somebody else brings about
    command_hash   bytea NOT NULL,
    stream         text COLLATE "C" NOT NULL,
    command_id     text COLLATE "C" NOT NULL,
    metadata       text, -- of commits
    events         text, -- of commits: JSON as it was encoded, byte for byte
    rejection      text, -- of small records: the reason for which the command was rejected
    PRIMARY KEY (stream, command_id) -- idempotency: a command id is taken once, by a commit or by a small record
);

-- Optimistic concurrency: a version of a stream is taken once.
CREATE UNIQUE INDEX IF NOT EXISTS {namespace}_places ON {namespace}_commits (stream, version) INCLUDE (last_version)
    WHERE version IS NOT NULL;
CREATE INDEX IF NOT EXISTS {namespace}_small_records ON {namespace}_commits (answered_at)
    WHERE answered_at IS NOT NULL;

-- The commits that are not marked. To mark one is to delete from this small table.
CREATE TABLE IF NOT EXISTS {namespace}_outbox (
    version     bigint NOT NULL,
    recorded_at bigint NOT NULL,
    appended_by integer, -- the number of the session of the process that appended it; NULL: it had none
    stream      text COLLATE "C" NOT NULL,
    PRIMARY KEY (stream, version)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX IF NOT EXISTS {namespace}_outbox_by_time ON {namespace}_outbox (recorded_at);

-- The commits that wait for their streams to move on.
CREATE TABLE IF NOT EXISTS {namespace}_reminders (
    version bigint NOT NULL, -- of the commit's first event
    since   bigint NOT NULL, -- when the delay began, in microseconds since 1970, by the clock of the server
    sent    integer, -- how often it was published again; NULL until somebody has touched it after the mark
    stream  text COLLATE "C" PRIMARY KEY,
    problem text -- why a receiver has set it aside
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX IF NOT EXISTS {namespace}_reminders_by_time ON {namespace}_reminders (since);

-- States of aggregates, every so many events. Nothing depends on them.
CREATE TABLE IF NOT EXISTS {namespace}_snapshots (
    version  bigint NOT NULL, -- of the last event in the state
    revision integer NOT NULL, -- of the state and its fold
    stream   text COLLATE "C" NOT NULL,
    content  text NOT NULL,
    PRIMARY KEY (stream, revision, version)
);
