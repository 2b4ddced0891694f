-- no-transaction
-- Answers that another took the place of, by when: serves the sweeper, which looked through all messages at each round.
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_replaced ON messages (replaced_at) WHERE replaced_at IS NOT NULL;
