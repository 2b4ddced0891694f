-- no-transaction
-- Conversations by when something was last said in them: serves the sweeper where retention.conversations is set, which looked through
-- all of them at each round. Each message touches an index of that column as it is, so this costs one more entry.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_age ON conversations (updated_at);
