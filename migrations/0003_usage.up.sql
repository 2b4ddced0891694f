-- One row per call to a provider: serves GET /api/usage (by day, model and key of one organisation).
-- No foreign keys: a record outlives the user, key and organisation it was made for.

CREATE TABLE usage_records (
    id                  uuid PRIMARY KEY,
    organization_id     uuid NOT NULL,
    user_id             uuid NOT NULL,
    api_key_id          uuid,
    model               text NOT NULL,
    provider            text NOT NULL,
    kind                text NOT NULL,
    outcome             text NOT NULL,
    streamed            boolean NOT NULL,
    input_tokens        bigint NOT NULL,
    output_tokens       bigint NOT NULL,
    -- The counts are ours, since the upstream sent none.
    estimated           boolean NOT NULL,
    cost_nanodollars    bigint NOT NULL,
    latency_us          bigint NOT NULL,
    first_token_us      bigint,
    created_at          timestamptz NOT NULL
);
CREATE INDEX usage_records_by_organization ON usage_records (organization_id, created_at);
