-- Shares held at the close of each session, with mark and unrealised dollars.
-- Needs: positions
CREATE VIEW positions AS
SELECT *
FROM read_parquet($lake_root || '/positions/session=*/part.parquet', hive_partitioning = false);
