-- Whole shares wanted per symbol after the rebalance.
-- Needs: target_portfolio
CREATE VIEW target_portfolio AS
SELECT *
FROM read_parquet($lake_root || '/target_portfolio/session=*/part.parquet', hive_partitioning = false);
