-- no-transaction
-- Serves the gauge of active users. Built without locking the table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_last_active ON users (last_active_at) WHERE last_active_at IS NOT NULL;
