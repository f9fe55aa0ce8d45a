-- Profit and loss of each session in dollars.
-- Needs: pnl
CREATE VIEW pnl AS
SELECT *
FROM read_parquet($lake_root || '/pnl/session=*/part.parquet', hive_partitioning = false);
