"""Import of bars from CSV and Parquet files: all of a file or nothing of it."""

from trading_pipeline.adapters.market_data.importing.importer import Defects, ImportReport, import_bars

__all__ = ["Defects", "ImportReport", "import_bars"]
