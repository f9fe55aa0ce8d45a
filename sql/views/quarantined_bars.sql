-- Rows kept out of bars, with their reasons.
-- Needs: quarantined_bars
CREATE VIEW quarantined_bars AS
SELECT *
FROM read_parquet($lake_root || '/quarantined_bars/session=*/part.parquet', hive_partitioning = false);
