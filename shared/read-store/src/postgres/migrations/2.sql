-- Views that were there before the column were filled.
ALTER TABLE read_store_views ADD COLUMN IF NOT EXISTS filled boolean NOT NULL DEFAULT true;
ALTER TABLE read_store_views ALTER COLUMN filled SET DEFAULT false; -- true if it has had all that the event store had
