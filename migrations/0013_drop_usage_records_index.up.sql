-- no-transaction
-- Serves whoever writes usage records: reports read usage_daily since 0009, so nothing looks into this index, and keeping it cost the
-- database a sixth of each record's time. Dropped without locking the table.
DROP INDEX CONCURRENTLY IF EXISTS usage_records_by_organization;
