DROP TRIGGER usage_records_daily ON usage_records;
DROP FUNCTION add_to_usage_daily();
ALTER TABLE usage_records DROP COLUMN rolled_up;
DROP TABLE usage_daily;
