CREATE TABLE IF NOT EXISTS read_store_walks (
    shape       text PRIMARY KEY, -- a view's, as the program writes it
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
