"""From scores to whole shares: the best names long, the worst short, within capital and position limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.orders.planning import Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioConfig:
    """How to build the target.

    Attributes:
        capital: dollars spread over all chosen names, by absolute value.
        long_count: how many of the best scores are bought; 0 for none.
        short_count: how many of the worst scores are sold short; 0 for none.
        max_position_shares: cap a symbol, shares.
        max_position_notional: cap a symbol, dollars.
    """

    capital: Decimal
    long_count: int
    short_count: int
    max_position_shares: int
    max_position_notional: Decimal

    def __post_init__(self) -> None:
        if self.long_count < 0 or self.short_count < 0 or not (self.capital.is_finite() and self.capital > 0):
            msg = f"counts must be at least 0 and capital positive: {self}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPortfolio:
    """The target as a table (one row a symbol that has a score and a price) and the symbols left out."""

    rows: pl.DataFrame
    skipped: tuple[Skipped, ...]


TARGET_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "score": pl.Float64(),
        "rank": pl.Int32(),
        "weight": pl.Float64(),
        "target_shares": pl.Int64(),
        "price": pl.Decimal(18, 4),
        "price_source": pl.String(),
        "price_as_of": pl.Datetime("us", "UTC"),
        "notional": pl.Decimal(18, 4),
        "capped_by": pl.String(),
    }
)


def build_target(
    predictions: pl.DataFrame, *, session: date, quotes: Mapping[str, ReferencePrice], config: PortfolioConfig
) -> TargetPortfolio:
    """Choose names by score and size them in whole shares.

    `predictions` has columns symbol: String and score: Float64, one row a symbol. Names are ranked among those that
    have a quote; ties go by symbol. Each chosen name gets an equal share of the capital, cut to whole shares toward
    zero and to the position limits. Names that are not chosen get a target of zero, so that what is held of them is
    sold.
    """
    skipped = [
        Skipped(symbol=symbol, reason="no price at the session's close")
        for symbol in sorted(predictions["symbol"])
        if symbol not in quotes
    ]
    ranked = predictions.filter(pl.col("symbol").is_in(list(quotes))).sort(
        ["score", "symbol"], descending=[True, False]
    )
    symbols = ranked["symbol"].to_list()
    longs, shorts = _sides(symbols, config)
    rows = [
        _row(session, symbol, score, place, quotes[symbol], (symbol in longs) - (symbol in shorts), config)
        for place, (symbol, score) in enumerate(zip(symbols, ranked["score"], strict=True), start=1)
    ]
    return TargetPortfolio(rows=pl.DataFrame(rows, schema=TARGET_SCHEMA).sort("symbol"), skipped=tuple(skipped))


def _sides(symbols: list[str], config: PortfolioConfig) -> tuple[set[str], set[str]]:
    longs = symbols[: config.long_count]
    rest = symbols[len(longs) :]
    shorts = rest[max(0, len(rest) - config.short_count) :]
    return set(longs), set(shorts)


def _row(
    session: date, symbol: str, score: float, place: int, quote: ReferencePrice, sign: int, config: PortfolioConfig
) -> dict[str, object]:
    names = config.long_count + config.short_count
    budget = config.capital / names if sign else Decimal(0)
    shares, capped_by = _shares(budget, quote.price, config)
    target = sign * shares
    return {
        "session": session,
        "symbol": symbol,
        "score": score,
        "rank": place,
        "weight": sign / names if sign else 0.0,
        "target_shares": target,
        "price": quote.price,
        "price_source": quote.source,
        "price_as_of": quote.as_of,
        "notional": quote.price * target,
        "capped_by": capped_by,
    }


def _shares(budget: Decimal, price: Decimal, config: PortfolioConfig) -> tuple[int, str | None]:
    wanted = int(budget / price)
    by_notional = int(config.max_position_notional / price)
    allowed = min(wanted, config.max_position_shares, by_notional)
    if allowed == wanted:
        return wanted, None
    return allowed, "max_position_shares" if allowed == config.max_position_shares else "max_position_notional"
