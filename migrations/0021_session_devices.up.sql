-- What a session is used by, and when it was last: serves the list by which a person finds the one to end.
SET LOCAL lock_timeout = '5s';
-- Null for programs, for browsers that do not say, and for sessions that a release before this one opened.
ALTER TABLE sessions ADD COLUMN device text, ADD COLUMN last_used_at timestamptz;
