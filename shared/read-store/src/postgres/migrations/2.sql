CREATE TABLE IF NOT EXISTS orders_walk (
    one         integer PRIMARY KEY CHECK (one = 1),
    position    text,
    walker      text,
    held_until  bigint NOT NULL DEFAULT 0,
    doubts      bigint NOT NULL DEFAULT 0,
    settling    bigint,
    doubt       text,
    doubt_since bigint,
    ended       bigint,
    found       bigint NOT NULL DEFAULT 0,
    filled      bigint NOT NULL DEFAULT 0
);
INSERT INTO orders_walk (one) VALUES (1) ON CONFLICT DO NOTHING;
