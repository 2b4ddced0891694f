-- Which environment a database is of, and every run that changed its schema: serves `mapleai migrate`, and `serve` in development,
-- which touches no other environment's database. The runner executes this file before anything else, so that the first run is written
-- down as well: each statement passes over what is there.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS deployment (
    -- There is one row.
    only_row    boolean PRIMARY KEY DEFAULT true CONSTRAINT deployment_has_one_row CHECK (only_row),
    environment text NOT NULL
                CONSTRAINT deployment_environment_known CHECK (environment IN ('development', 'staging', 'production')),
    since       timestamptz NOT NULL,
    -- The server's identifier when the row was written, where the role may read it: a copy restored elsewhere has another's.
    system      text CONSTRAINT deployment_system_bounded CHECK (octet_length(system) <= 64)
);

CREATE TABLE IF NOT EXISTS migration_runs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The rows of one run: one when it begins, one for each version, one when it ends.
    run         uuid NOT NULL,
    command     text NOT NULL CONSTRAINT migration_runs_command_known CHECK (command IN ('apply', 'rollback', 'reset', 'mark')),
    environment text NOT NULL CONSTRAINT migration_runs_environment_bounded CHECK (octet_length(environment) <= 64),
    -- Null in a row of the whole run.
    version     bigint,
    outcome     text NOT NULL CONSTRAINT migration_runs_outcome_known CHECK (outcome IN ('began', 'done', 'failed')),
    -- Of the plan that was reviewed.
    digest      text CONSTRAINT migration_runs_digest_bounded CHECK (octet_length(digest) <= 64),
    by_whom     text CONSTRAINT migration_runs_by_whom_bounded CHECK (octet_length(by_whom) <= 200),
    -- Why outside the window, or why it failed.
    reason      text CONSTRAINT migration_runs_reason_bounded CHECK (octet_length(reason) <= 2000),
    -- The backup's label and time.
    backup      text CONSTRAINT migration_runs_backup_bounded CHECK (octet_length(backup) <= 2000),
    -- Versions that the run is about.
    versions    bigint[] CONSTRAINT migration_runs_versions_bounded CHECK (cardinality(versions) <= 10000),
    -- Of the program.
    release     text NOT NULL CONSTRAINT migration_runs_release_bounded CHECK (octet_length(release) <= 64),
    began       timestamptz NOT NULL,
    ended       timestamptz
);

CREATE OR REPLACE FUNCTION refuse_to_rewrite_deployment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE OR REPLACE TRIGGER deployment_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON deployment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite_deployment();
CREATE OR REPLACE TRIGGER migration_runs_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON migration_runs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite_deployment();
