-- The digest of all that the features of a session and symbol were made of, and the feature set.
-- Needs: feature_inputs
CREATE VIEW feature_inputs AS
SELECT *
FROM read_parquet($lake_root || '/feature_inputs/session=*/part.parquet', hive_partitioning = false);
