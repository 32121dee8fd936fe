CREATE TABLE IF NOT EXISTS read_store_views (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again: a table's name says which view it was
    shape text NOT NULL, -- as the program writes it
    state text NOT NULL CHECK (state IN ('active', 'building')),
    UNIQUE (shape, state) -- one of each, at most
);

CREATE TABLE IF NOT EXISTS read_store_held (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again: `drop 7` is never about another event
    view          bigint NOT NULL,
    stream        text COLLATE "C",
    version       bigint,
    reason        text NOT NULL,
    problem       text NOT NULL,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    key           bytea,
    value         bytea,
    held_at       timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS read_store_held_by_stream ON read_store_held (view, stream, version);
CREATE INDEX IF NOT EXISTS read_store_held_by_view ON read_store_held (view, id);
CREATE INDEX IF NOT EXISTS read_store_held_strays ON read_store_held (view, topic, partition, record_offset)
    WHERE version IS NULL OR stream IS NULL;
