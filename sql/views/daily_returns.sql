-- Close-to-close return (fraction) of each symbol against its previous good bar, and how many days ago that was.
-- Prices are as in bars: a split or dividend between the two shows as a return.
-- Needs: bars
CREATE VIEW daily_returns AS
SELECT
    session,
    symbol,
    close,
    close / lag(close) OVER by_symbol - 1 AS close_return,
    session - lag(session) OVER by_symbol AS days_since_previous
FROM bars
WINDOW by_symbol AS (PARTITION BY symbol ORDER BY session);
