ALTER TABLE messages
    DROP COLUMN thoughts,
    DROP COLUMN end_reason,
    DROP COLUMN end_detail,
    DROP COLUMN end_retry_after;
