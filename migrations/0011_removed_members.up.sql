-- When somebody was removed from the organisation: serves DELETE /api/users/{id} and what it keeps from signing in. The row
-- stays, since sessions and keys must be known as ended for as long as a cache could hold them, and records name it.
SET LOCAL lock_timeout = '5s';
ALTER TABLE users ADD COLUMN removed_at timestamptz;
