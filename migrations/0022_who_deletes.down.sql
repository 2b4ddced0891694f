SET LOCAL lock_timeout = '5s';

ALTER TABLE organizations DROP COLUMN delete_by;
