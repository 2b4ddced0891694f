-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS conversations_by_age;
