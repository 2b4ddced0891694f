-- When the database was last seen to take writes, by its own clock: one row, written every five seconds by whichever instance finds that
-- due. What a copy has of it tells how old the copy is, and what a restored database has of it how much was lost.

SET LOCAL lock_timeout = '5s';

CREATE TABLE markers (
    only_row   boolean PRIMARY KEY DEFAULT true CONSTRAINT markers_only_row CHECK (only_row),
    number     bigint NOT NULL,
    written_at timestamptz NOT NULL,
    -- Where the log of changes stood, and in which history: a server that is promoted begins another.
    position   pg_lsn NOT NULL,
    timeline   bigint NOT NULL
);
-- Number 0: never written.
INSERT INTO markers (number, written_at, position, timeline) VALUES (0, 'epoch', '0/0', 0);
