-- Which sessions each symbol has good bars of, and how many sessions of that span are missing.
WITH sessions AS (
    SELECT DISTINCT session FROM bars
),
spans AS (
    SELECT symbol, min(session) AS first_session, max(session) AS last_session, count(*) AS bars
    FROM bars
    GROUP BY symbol
)
SELECT
    spans.symbol,
    spans.first_session,
    spans.last_session,
    spans.bars,
    count(sessions.session) - spans.bars AS missing_sessions
FROM spans
JOIN sessions ON sessions.session BETWEEN spans.first_session AND spans.last_session
GROUP BY spans.symbol, spans.first_session, spans.last_session, spans.bars
ORDER BY spans.symbol;
