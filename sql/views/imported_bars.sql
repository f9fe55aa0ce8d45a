-- Bars imported from files; source names the file.
-- Needs: imported_bars
CREATE VIEW imported_bars AS
SELECT *
FROM read_parquet($lake_root || '/imported_bars/session=*/part.parquet', hive_partitioning = false);
