-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS messages_replaced;
