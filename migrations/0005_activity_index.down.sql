-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS users_by_last_active;
