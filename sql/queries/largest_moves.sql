-- The twenty largest close-to-close moves among the good bars: the first place to look for a missed corporate action.
SELECT session, symbol, close, close_return, days_since_previous
FROM daily_returns
WHERE close_return IS NOT NULL
ORDER BY abs(close_return) DESC, session, symbol
LIMIT 20;
