CREATE TABLE IF NOT EXISTS read_store_programs (
    shape   text NOT NULL, -- of the program's view, as the program writes it
    program text NOT NULL,
    since   bigint NOT NULL, -- milliseconds since 1970, by the clock of the store; so are all times here
    renewed bigint NOT NULL,
    until   bigint NOT NULL,
    serves  boolean NOT NULL, -- false if it only keeps the tables
    filling text, -- how far it is, if it fills the view
    PRIMARY KEY (shape, program)
);
