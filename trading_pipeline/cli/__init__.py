"""The command line: `trading-pipeline`."""

from trading_pipeline.cli.main import main

__all__ = ["main"]
