-- Whether models' answers that were given to one person of an organisation are given to others of it: serves every call that the
-- cache of answers is asked about, GET and PATCH /api/organization and the settings page. Off, so that nobody learns what a colleague asked.
-- A constant default: no rewrite of the table, and the previous release's inserts stay valid.
SET LOCAL lock_timeout = '5s';

ALTER TABLE organizations ADD COLUMN share_answers boolean NOT NULL DEFAULT false;
