-- What people say and what models answer: serves the page's list of conversations and one conversation with its messages.

CREATE TABLE conversations (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    user_id         uuid NOT NULL,
    title           text,
    model           text,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT conversations_tenant_unique UNIQUE (organization_id, id)
);
-- Newest first, paged by (updated_at, id).
CREATE INDEX conversations_by_user ON conversations (organization_id, user_id, updated_at DESC, id DESC);

CREATE TABLE messages (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    author          text NOT NULL CONSTRAINT messages_author_known CHECK (author IN ('user', 'assistant')),
    content         text NOT NULL,
    model           text,
    status          text NOT NULL CONSTRAINT messages_status_known
                    CHECK (status IN ('streaming', 'complete', 'partial', 'failed')),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    -- Set when a regenerated answer took this one's place.
    replaced_at     timestamptz,
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX messages_by_conversation ON messages (organization_id, conversation_id, created_at, id);
-- The sweep of answers whose writer died.
CREATE INDEX messages_streaming ON messages (updated_at) WHERE status = 'streaming';
