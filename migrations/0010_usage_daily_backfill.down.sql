UPDATE usage_daily AS kept SET
    requests = kept.requests - old.requests,
    input_tokens = kept.input_tokens - old.input_tokens,
    output_tokens = kept.output_tokens - old.output_tokens,
    cost_nanodollars = kept.cost_nanodollars - old.cost_nanodollars,
    estimated_requests = kept.estimated_requests - old.estimated_requests,
    cached_requests = kept.cached_requests - old.cached_requests,
    saved_nanodollars = kept.saved_nanodollars - old.saved_nanodollars
FROM (
    SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date AS day, model,
           COALESCE(api_key_id, '00000000-0000-0000-0000-000000000000') AS api_key_id, count(*) AS requests,
           sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
           sum(cost_nanodollars) AS cost_nanodollars, count(*) FILTER (WHERE estimated) AS estimated_requests,
           count(*) FILTER (WHERE cached) AS cached_requests, sum(saved_nanodollars) AS saved_nanodollars
    FROM usage_records WHERE NOT rolled_up GROUP BY 1, 2, 3, 4
) AS old
WHERE (kept.organization_id, kept.day, kept.model, kept.api_key_id) = (old.organization_id, old.day, old.model, old.api_key_id);
DELETE FROM usage_daily WHERE requests = 0;
