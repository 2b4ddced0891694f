-- no-transaction
-- Serves the look for keys that were revoked lately, once a second in each instance. Built without locking the table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS api_keys_by_revocation ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
