"""Prices and volumes made comparable across splits and distributions, at read time; raw bars never change.

Every event has a factor by which all earlier prices are multiplied. With S new shares for one old and D dollars paid a
share as traded on the ex-date:

- `PREVIOUS_CLOSE` (CRSP, LEAN, Yahoo): 1/S * (1 - D*S / close before the ex-date)
- `EX_DATE_CLOSE` (Quandl WIKI): 1/S * C / (C + D), C the close of the ex-date
"""

from enum import StrEnum
from typing import Final

import polars as pl

from trading_pipeline.core.bars import PRICE_COLUMNS
from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.errors import DataQualityError

_BY_SYMBOL: Final = "symbol"
_ADJUSTED: Final = (*PRICE_COLUMNS, "vwap")


class Convention(StrEnum):
    """Which close a payment is measured against."""

    PREVIOUS_CLOSE = "previous_close"
    EX_DATE_CLOSE = "ex_date_close"


class Anchor(StrEnum):
    """Where adjusted prices equal those traded.

    At the `LAST` bar for people's eyes: every new event changes all history. At the `FIRST` bar for computations: a row
    depends on events up to its session only, so nothing looks ahead and nothing old changes.
    """

    FIRST = "first"
    LAST = "last"


def adjustment_events(closes: pl.DataFrame, actions: pl.DataFrame, *, convention: Convention) -> pl.DataFrame:
    """Return the factors of splits and payments, at the bar from which they hold.

    An action on a day without a bar holds from the next bar; several of one bar become one event. Actions after the
    last bar, or not after the first, move no price and have no event.

    Args:
        closes: `session` (Date), `symbol`, `close` (raw dollars), one row each; bars of all symbols and days concerned.
            `symbol` is the identity: where symbols change or are used again, the instrument's.
        actions: corporate actions of the same identities. Kinds without ratio and amount move no price; a spin-off
            without an amount is valued at `distributed` times the close of `other_symbol`, where it has a bar.
        convention: which close payments are measured against.

    Returns:
        `symbol`, `session`, `price_factor` (earlier prices times this), `share_factor` (earlier volumes times this).

    Raises:
        DataQualityError: a payment is as much as the price it is measured against.
    """
    ordered = closes.select("session", _BY_SYMBOL, "close").sort(_BY_SYMBOL, "session")
    bars = ordered.with_columns(pl.col("close").shift().over(_BY_SYMBOL).alias("previous"))
    events = (
        _paid(actions, ordered)
        .group_by(_BY_SYMBOL, "ex_date")
        .agg(pl.col("ratio").fill_null(1.0).product(), pl.col("amount").fill_null(0.0).sum())
        .sort("ex_date")
        .join_asof(
            bars.sort("session"),
            left_on="ex_date",
            right_on="session",
            by=_BY_SYMBOL,
            strategy="forward",
            coalesce=False,
            check_sortedness=False,
        )
        .filter(pl.col("previous").is_not_null())
        .sort(_BY_SYMBOL, "ex_date")
    )
    at_bar = [_BY_SYMBOL, "session"]
    # A payment before a split of the same bar was made for old shares: in new ones it is less a share.
    later = pl.col("ratio").product().over(at_bar) / pl.col("ratio").cum_prod().over(at_bar)
    merged = (
        events.with_columns((pl.col("amount") / later).alias("amount"))
        .group_by(at_bar)
        .agg(
            pl.col("ratio").product().alias("share_factor"),
            pl.col("amount").sum(),
            pl.col("close", "previous").first(),
        )
    )
    paid_part = (
        1 - pl.col("amount") * pl.col("share_factor") / pl.col("previous")
        if convention is Convention.PREVIOUS_CLOSE
        else pl.col("close") / (pl.col("close") + pl.col("amount"))
    )
    factors = merged.with_columns((paid_part / pl.col("share_factor")).alias("price_factor"))
    _require_positive(factors)
    return factors.select(_BY_SYMBOL, "session", "price_factor", "share_factor").sort(_BY_SYMBOL, "session")


def apply_events(bars: pl.DataFrame, events: pl.DataFrame, *, anchor: Anchor) -> pl.DataFrame:
    """Return bars with prices and volumes adjusted, in the order they came.

    All prices of a bar are multiplied by one factor: what was between low and high stays there. Volumes follow splits
    only, payments leave the number of shares alone.

    Args:
        bars: `session`, `symbol`, and of open, high, low, close, vwap (dollars) and volume (shares) what there is.
        events: of `adjustment_events`; they may be of sessions outside of the bars.
        anchor: where nothing changes.
    """
    names = ["price_factor", "share_factor"]
    steps = events.sort("session").with_columns(pl.col(names).cum_prod().over(_BY_SYMBOL))
    rows = bars.with_row_index("_row").sort("session")
    done = rows.join_asof(steps, on="session", by=_BY_SYMBOL, strategy="backward", check_sortedness=False).with_columns(
        pl.col(names).fill_null(1.0)
    )
    if anchor is Anchor.LAST:
        newest = done["session"].max()
        total = (
            steps.filter(pl.col("session") <= newest)
            .group_by(_BY_SYMBOL)
            .agg(pl.col(names).last().name.suffix("_total"))
        )
        done = done.join(total, on=_BY_SYMBOL, how="left").with_columns(
            (pl.col(f"{name}_total").fill_null(1.0) / pl.col(name)).alias(name) for name in names
        )
    else:
        done = done.with_columns((1 / pl.col(name)).alias(name) for name in names)
    prices = [(pl.col(name) * pl.col("price_factor")).alias(name) for name in _ADJUSTED if name in bars.columns]
    volumes = [(pl.col("volume") * pl.col("share_factor")).alias("volume")] if "volume" in bars.columns else []
    return done.sort("_row").with_columns(*prices, *volumes).select(bars.columns)


def adjust_bars(
    bars: pl.DataFrame, actions: pl.DataFrame, *, convention: Convention, anchor: Anchor = Anchor.LAST
) -> pl.DataFrame:
    """Return all bars of some symbols adjusted for actions: `adjustment_events` and `apply_events` in one."""
    return apply_events(bars, adjustment_events(bars, actions, convention=convention), anchor=anchor)


def _paid(actions: pl.DataFrame, closes: pl.DataFrame) -> pl.DataFrame:
    values = (
        actions.filter(pl.col("kind") == ActionKind.SPIN_OFF.value, pl.col("amount").is_null())
        .select("symbol", "ex_date", "distributed", "other_symbol")
        .sort("ex_date")
        .join_asof(
            closes.sort("session").rename({"symbol": "other_symbol", "close": "value"}),
            left_on="ex_date",
            right_on="session",
            by="other_symbol",
            strategy="forward",
            check_sortedness=False,
        )
        .select("symbol", "ex_date", "other_symbol", (pl.col("distributed") * pl.col("value")).alias("value"))
    )
    moving = [kind.value for kind in _MOVING]
    return (
        actions.filter(pl.col("kind").is_in(moving))
        .join(values, on=["symbol", "ex_date", "other_symbol"], how="left")
        .with_columns(pl.coalesce("amount", "value").alias("amount"))
        .filter(pl.col("ratio").is_not_null() | pl.col("amount").is_not_null())
        .select("symbol", "ex_date", "ratio", "amount")
    )


_MOVING: Final = (
    ActionKind.SPLIT,
    ActionKind.REVERSE_SPLIT,
    ActionKind.STOCK_DIVIDEND,
    ActionKind.CASH_DIVIDEND,
    ActionKind.SPIN_OFF,
    ActionKind.RIGHTS,
)
"""Kinds after which the same shares trade on at another price."""


def _require_positive(factors: pl.DataFrame) -> None:
    broken = factors.filter(~(pl.col("price_factor") > 0) | pl.col("price_factor").is_infinite())
    if broken.height:
        row = broken.row(0, named=True)
        raise DataQualityError(
            f"{row['symbol']}: {row['amount']} dollars a share paid at {row['session']} are not below the price "
            f"{row['previous']}: correct the corporate action, or the bar before it",
            symbol=row["symbol"],
            session=row["session"],
            amount=row["amount"],
        )
