-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS sessions_by_end;
