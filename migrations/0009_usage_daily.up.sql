-- Sums of usage by day (UTC), model and key: serves GET /api/usage and the settings page, which would otherwise add up every
-- call of 30 days each time. Kept by the database itself, so that the previous release's inserts count as well.

-- Waits for reports under way, and holds up inserts meanwhile: rather fails, and is tried again.
SET LOCAL lock_timeout = '5s';

CREATE TABLE usage_daily (
    organization_id     uuid NOT NULL,
    day                 date NOT NULL,
    model               text NOT NULL,
    -- All zeros: what people asked on the page.
    api_key_id          uuid NOT NULL,
    requests            bigint NOT NULL,
    -- A sum of what providers report has no bound, and must not stop records from being written.
    input_tokens        numeric NOT NULL,
    output_tokens       numeric NOT NULL,
    cost_nanodollars    numeric NOT NULL,
    estimated_requests  bigint NOT NULL,
    cached_requests     bigint NOT NULL,
    saved_nanodollars   numeric NOT NULL,
    PRIMARY KEY (organization_id, day, model, api_key_id)
    -- The day's rows change all day long; with room on their page they do so without touching the index.
) WITH (fillfactor = 70);

-- False for the rows there are, true for those to come, whoever inserts them: what the next migration has still to add up.
-- Two statements, since the default of the first is what existing rows show. Neither rewrites the table.
ALTER TABLE usage_records ADD COLUMN rolled_up boolean NOT NULL DEFAULT false;
ALTER TABLE usage_records ALTER COLUMN rolled_up SET DEFAULT true;

-- Sees only rows that were inserted: one that was there already (ON CONFLICT DO NOTHING) does not count twice. In order, so
-- that two batches cannot wait for each other.
CREATE FUNCTION add_to_usage_daily() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS kept
    SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date, model,
           COALESCE(api_key_id, '00000000-0000-0000-0000-000000000000'), count(*), sum(input_tokens), sum(output_tokens),
           sum(cost_nanodollars), count(*) FILTER (WHERE estimated), count(*) FILTER (WHERE cached), sum(saved_nanodollars)
    FROM inserted GROUP BY 1, 2, 3, 4 ORDER BY 2, 1, 3, 4
    ON CONFLICT (organization_id, day, model, api_key_id) DO UPDATE SET
        requests = kept.requests + EXCLUDED.requests,
        input_tokens = kept.input_tokens + EXCLUDED.input_tokens,
        output_tokens = kept.output_tokens + EXCLUDED.output_tokens,
        cost_nanodollars = kept.cost_nanodollars + EXCLUDED.cost_nanodollars,
        estimated_requests = kept.estimated_requests + EXCLUDED.estimated_requests,
        cached_requests = kept.cached_requests + EXCLUDED.cached_requests,
        saved_nanodollars = kept.saved_nanodollars + EXCLUDED.saved_nanodollars;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_records_daily AFTER INSERT ON usage_records
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION add_to_usage_daily();
