SET LOCAL lock_timeout = '5s';
ALTER TABLE sessions DROP COLUMN device, DROP COLUMN last_used_at;
