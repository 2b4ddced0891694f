-- no-transaction
-- Serves signing in with an address that was given up to an invited account. Built without locking the table; nearly always empty.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_displaced_email ON users (displaced_email) WHERE displaced_email IS NOT NULL;
