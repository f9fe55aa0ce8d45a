"""Import of bars from CSV and Parquet files: all of a file or nothing of it."""

from trading_pipeline.adapters.market_data.importing.importer import Defects, import_bars
from trading_pipeline.adapters.market_data.importing.minute_file import import_minutes
from trading_pipeline.adapters.market_data.importing.recording import ImportReport

__all__ = ["Defects", "ImportReport", "import_bars", "import_minutes"]
