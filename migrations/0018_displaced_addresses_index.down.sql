-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS users_by_displaced_email;
