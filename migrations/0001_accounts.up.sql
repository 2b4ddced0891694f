-- Organisations, people and how they sign in: serves registration, sign-in, invitations and every credential look-up.

CREATE TABLE organizations (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL
);

CREATE TABLE users (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    email           text NOT NULL,
    -- Lower case; what sign-in looks up and what must be unique.
    email_folded    text NOT NULL CONSTRAINT users_email_unique UNIQUE,
    name            text NOT NULL,
    role            text NOT NULL CONSTRAINT users_role_known CHECK (role IN ('member', 'admin', 'owner')),
    password_hash   text NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    -- Lets other tables refer to a user together with the tenant, so that a row cannot mix the two.
    CONSTRAINT users_tenant_unique UNIQUE (organization_id, id)
);
CREATE INDEX users_by_organization ON users (organization_id, created_at, id);

CREATE TABLE invitations (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    email           text NOT NULL,
    email_folded    text NOT NULL,
    role            text NOT NULL CONSTRAINT invitations_role_known CHECK (role IN ('member', 'admin', 'owner')),
    token_digest    bytea NOT NULL CONSTRAINT invitations_token_unique UNIQUE,
    invited_by      uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    accepted_at     timestamptz,
    FOREIGN KEY (organization_id, invited_by) REFERENCES users (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX invitations_by_organization ON invitations (organization_id, created_at, id);

CREATE TABLE sessions (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    user_id         uuid NOT NULL,
    -- The page's cookie; sessions of programs have none.
    cookie_digest   bytea CONSTRAINT sessions_cookie_unique UNIQUE,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_by_user ON sessions (organization_id, user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Every refresh token a session ever had: one that comes a second time was stolen by somebody, and ends the session.
CREATE TABLE refresh_tokens (
    digest     bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE api_keys (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    user_id         uuid NOT NULL,
    name            text NOT NULL,
    -- The first characters of the key, for people to recognise it by.
    prefix          text NOT NULL,
    digest          bytea NOT NULL CONSTRAINT api_keys_digest_unique UNIQUE,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    last_used_at    timestamptz,
    revoked_at      timestamptz,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX api_keys_by_organization ON api_keys (organization_id, created_at, id);
