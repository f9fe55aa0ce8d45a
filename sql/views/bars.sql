-- Bars that passed the quality gate.
-- Needs: bars
CREATE VIEW bars AS
SELECT *
FROM read_parquet($lake_root || '/bars/session=*/part.parquet', hive_partitioning = false);
