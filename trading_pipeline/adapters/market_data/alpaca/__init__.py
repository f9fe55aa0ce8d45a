"""Alpaca's market data through alpaca-py: bars and corporate actions, page by page, resumable."""

from trading_pipeline.adapters.market_data.alpaca.bars import AlpacaBars, Feed

__all__ = ["AlpacaBars", "Feed"]
