-- Calls answered from the cache: serves GET /api/usage and an administrator's view of what the cache saved.
-- Constant defaults: no rewrite of the table, and the previous release's inserts stay valid.
ALTER TABLE usage_records
    ADD COLUMN cached boolean NOT NULL DEFAULT false,
    ADD COLUMN saved_nanodollars bigint NOT NULL DEFAULT 0;
