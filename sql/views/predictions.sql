-- Scores of the model by symbol and session.
-- Needs: predictions
CREATE VIEW predictions AS
SELECT *
FROM read_parquet($lake_root || '/predictions/session=*/part.parquet', hive_partitioning = false);
