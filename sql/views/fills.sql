-- Executions by session, with what each realised in dollars.
-- Needs: fills
CREATE VIEW fills AS
SELECT *
FROM read_parquet($lake_root || '/fills/session=*/part.parquet', hive_partitioning = false);
