-- no-transaction
-- Serves the look for users whose role or name was changed lately, once a second in each instance. Built without locking the table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_change ON users (updated_at) WHERE updated_at > created_at;
