-- The newest good bar of each symbol.
-- Needs: bars
CREATE VIEW latest_bars AS
SELECT *
FROM bars
QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY session DESC) = 1;
