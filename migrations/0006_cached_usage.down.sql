ALTER TABLE usage_records
    DROP COLUMN IF EXISTS cached,
    DROP COLUMN IF EXISTS saved_nanodollars;
