CREATE OR REPLACE FUNCTION add_to_usage_daily() RETURNS trigger LANGUAGE plpgsql AS $$
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
ALTER TABLE usage_daily DROP COLUMN IF EXISTS cached_input_tokens;
ALTER TABLE usage_records DROP COLUMN IF EXISTS cached_input_tokens;
