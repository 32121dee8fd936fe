CREATE TABLE IF NOT EXISTS orders_views (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again: a table's name says which view it was
    state text NOT NULL UNIQUE CHECK (state IN ('active', 'building')) -- UNIQUE: one of each, at most
);

CREATE TABLE IF NOT EXISTS orders_held (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again: `drop 7` is never about another event
    view          bigint NOT NULL,
    order_id      text COLLATE "C",
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

CREATE INDEX IF NOT EXISTS orders_held_by_order ON orders_held (view, order_id, version);
CREATE INDEX IF NOT EXISTS orders_held_by_view ON orders_held (view, id);
CREATE INDEX IF NOT EXISTS orders_held_strays ON orders_held (view, topic, partition, record_offset)
    WHERE version IS NULL OR order_id IS NULL;
