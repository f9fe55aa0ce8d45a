-- Features by symbol and session.
-- Needs: features
CREATE VIEW features AS
SELECT *
FROM read_parquet($lake_root || '/features/session=*/part.parquet', hive_partitioning = false);
