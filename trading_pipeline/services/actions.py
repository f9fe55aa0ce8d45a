"""The operator's verbs by name: one table, from which the jobs of the UI and the commands of the CLI are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.prices import last_closes
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.monitor import reset_equity_peak
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reports import book_row, cancellation_rows, flattening_rows
from trading_pipeline.services.valuation import Quotes

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorContext:
    """What a verb may need: the operations, prices to flatten at, and the limits of a new book."""

    account: TradingAccount
    operations: RiskOperations
    quotes: Quotes
    limits: RiskLimits
    symbol: str

    @classmethod
    def of(cls, account: TradingAccount, lake: Lake, limits: RiskLimits, symbol: str = "") -> Self:
        """Build the context of an account whose prices come from the lake."""
        return cls(
            account=account,
            operations=RiskOperations(account),
            quotes=lambda session, symbols: last_closes(lake, session, symbols),
            limits=limits,
            symbol=symbol,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One operator action: what it does, for people, and how."""

    description: str
    act: Callable[[OperatorContext, OperatorAction], Rows]
    takes_symbol: bool = False


OPERATOR_VERBS: Mapping[str, Verb] = {
    "initialize_risk_book": Verb(
        description="Create the risk book of an account that has none, with the configured limits.",
        act=lambda on, action: [book_row(on.operations.initialize_risk_book(on.limits, action))],
    ),
    "rebuild_risk_book": Verb(
        description="Write the risk book anew from the ledger, in a new epoch. Halts and limits stay.",
        act=lambda on, action: [book_row(on.operations.rebuild_risk_book(action))],
    ),
    "engage_kill_switch": Verb(
        description="Stop all trading but flatten_positions.",
        act=lambda on, action: [book_row(on.operations.engage_kill_switch(action))],
    ),
    "disengage_kill_switch": Verb(
        description="Let trading go on.",
        act=lambda on, action: [book_row(on.operations.disengage_kill_switch(action))],
    ),
    "trip_circuit_breaker": Verb(
        description="Let only reducing orders through until the breaker is reset.",
        act=lambda on, action: [book_row(on.operations.trip_circuit_breaker(action))],
    ),
    "reset_circuit_breaker": Verb(
        description="Start the quiet period after a trip: reducing orders only, then all.",
        act=lambda on, action: [book_row(on.operations.reset_circuit_breaker(action))],
    ),
    "reset_equity_peak": Verb(
        description="Let the drawdown count from the present equity on, after a withdrawal or an accepted loss.",
        act=lambda on, action: [reset_equity_peak(on.account, action)],
    ),
    "set_risk_limits": Verb(
        description="Replace the limits by the configured ones.",
        act=lambda on, action: [book_row(on.operations.set_risk_limits(on.limits, action))],
    ),
    "block_symbol": Verb(
        description="Keep a symbol from trading; only flatten_positions still clears for it.",
        act=lambda on, action: [book_row(on.operations.block_symbol(on.symbol, action))],
        takes_symbol=True,
    ),
    "unblock_symbol": Verb(
        description="Let a blocked symbol trade again.",
        act=lambda on, action: [book_row(on.operations.unblock_symbol(on.symbol, action))],
        takes_symbol=True,
    ),
    "cancel_all_orders": Verb(
        description="Cancel every live order at the broker, and every order that was never sent.",
        act=lambda on, action: cancellation_rows(on.operations.cancel_all_orders(action)),
    ),
    "flatten_positions": Verb(
        description="Cancel all orders, then close every position, reduce-only; works under the kill switch.",
        act=lambda on, action: flattening_rows(on.operations.flatten_positions(action, on.quotes)),
    ),
}
