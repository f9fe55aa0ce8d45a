-- Bars as the sources gave them, defects included.
-- Needs: raw_bars
CREATE VIEW raw_bars AS
SELECT *
FROM read_parquet($lake_root || '/raw_bars/session=*/part.parquet', hive_partitioning = false);
