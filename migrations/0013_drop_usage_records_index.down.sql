-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS usage_records_by_organization ON usage_records (organization_id, created_at);
