-- How many rows each reason keeps out of bars, and where it happens; a row with two reasons counts for both.
WITH reasons AS (
    SELECT session, symbol, unnest(string_split(reason, ';')) AS reason
    FROM quarantined_bars
)
SELECT
    reason,
    count(*) AS rows_kept_out,
    count(DISTINCT symbol) AS symbols,
    min(session) AS first_session,
    max(session) AS last_session
FROM reasons
GROUP BY reason
ORDER BY rows_kept_out DESC, reason;
