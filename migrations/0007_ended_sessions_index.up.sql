-- no-transaction
-- Serves the look for sessions that were ended lately, once a second in each instance. Built without locking the table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;
