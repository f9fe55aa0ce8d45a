-- How fresh each symbol was at its session.
-- Needs: freshness
CREATE VIEW freshness AS
SELECT *
FROM read_parquet($lake_root || '/freshness/session=*/part.parquet', hive_partitioning = false);
