SET LOCAL lock_timeout = '5s';
ALTER TABLE sessions DROP COLUMN confirmed_at;
