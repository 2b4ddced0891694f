-- Why an answer ended as it did, and what the model thought before it spoke: serves a conversation's page and GET
-- /api/conversations/{id}, which tell both after a reload as well.
SET LOCAL lock_timeout = '5s';
ALTER TABLE messages
    ADD COLUMN thoughts text,
    ADD COLUMN end_reason text,
    ADD COLUMN end_detail text,
    ADD COLUMN end_retry_after bigint;
