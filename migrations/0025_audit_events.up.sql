-- What was done in an organisation, by whom and from where: serves GET /api/audit and the audit page, newest first, by actor, action and
-- time. Written in the transaction that makes the change.

-- Refers to organizations, which waits for whoever is changing it.
SET LOCAL lock_timeout = '5s';

CREATE TABLE audit_events (
    -- Begins with the time of the event, so that the oldest are found by the key.
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    occurred_at     timestamptz NOT NULL,
    action          text NOT NULL,
    actor_kind      text NOT NULL,
    -- Null where the kind says all. No foreign key: ids outlive what they stand for.
    actor_id        uuid,
    target_kind     text NOT NULL,
    target_id       uuid,
    before          jsonb CONSTRAINT audit_events_before_bounded CHECK (octet_length(before::text) <= 4096),
    after           jsonb CONSTRAINT audit_events_after_bounded CHECK (octet_length(after::text) <= 4096),
    request_id      text CONSTRAINT audit_events_request_id_bounded CHECK (octet_length(request_id) <= 128),
    -- Erased with the person whom it tells about; ids stay.
    address         text,
    address_of      uuid,
    -- More than one where a flood of failures is told in one event.
    occurrences     bigint NOT NULL,
    CONSTRAINT audit_events_address_is_somebodys CHECK (address IS NULL OR address_of IS NOT NULL)
);
CREATE INDEX audit_events_by_time ON audit_events (organization_id, occurred_at DESC, id DESC);
-- An id, or the kind where there is none: what GET /api/audit calls the actor.
CREATE INDEX audit_events_by_actor
    ON audit_events (organization_id, (COALESCE(actor_id::text, actor_kind)), occurred_at DESC, id DESC);
CREATE INDEX audit_events_by_action ON audit_events (organization_id, action, occurred_at DESC, id DESC);
-- Addresses that are still to be erased when somebody leaves.
CREATE INDEX audit_events_by_address ON audit_events (organization_id, address_of) WHERE address IS NOT NULL;
