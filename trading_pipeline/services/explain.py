"""From an order back to everything that caused it."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.ledger import Ledger, OrderRecord
from trading_pipeline.errors import OrderError
from trading_pipeline.services.reports import order_row

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The chain behind one order. Frames have one row, or none when the lake has nothing of the session and symbol."""

    order: OrderRecord
    chain: list[OrderRecord]
    events: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    target: pl.DataFrame
    prediction: pl.DataFrame
    features: pl.DataFrame
    bars: pl.DataFrame

    def sections(self) -> list[tuple[str, Rows]]:
        """Return title and rows of every link, from the order back to the bars."""
        intent, origin = self.order.intent, self.order.origin
        order = order_row(self.order) | {
            "trade_session": intent.trade_session.isoformat(),
            "reference_price": str(intent.reference.price),
            "price_source": f"{intent.reference.source} at {intent.reference.as_of.isoformat()}",
            "broker_order_id": self.order.broker_order_id or "",
            **{name: str(value) for name, value in origin.items()},
        }
        return [
            ("order", _facts(order)),
            ("chain of replacements", [_link(one) for one in self.chain]),
            ("events", [_pick(row, "at", "from_state", "to_state", "reason") for row in self.events]),
            (
                "verdicts of the guard",
                [
                    _pick(row, "at", "code", "observed", "limit_value", "epoch", "sequence", "detail")
                    for row in self.verdicts
                ],
            ),
            (
                "fills",
                [_pick(row, "execution_id", "executed_at", "qty", "price", "fee", "realised") for row in self.fills],
            ),
            ("target", _rows(self.target)),
            ("prediction", _rows(self.prediction)),
            ("features", _facts(_rows(self.features)[0]) if self.features.height else []),
            ("bars used", _rows(self.bars)),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the whole chain as plain values."""
        return dict(self.sections())


def explain(client_order_id: str, *, ledger: Ledger, lake: Lake, bars: int = 5) -> Explanation:
    """Collect order, verdicts, fills, target, prediction, feature values and the last `bars` bars up to the session.

    Raises:
        OrderError: no such order in the ledger.
    """
    order = ledger.orders.get(client_order_id)
    if order is None:
        raise OrderError(
            f"order {client_order_id} is not in the ledger: list orders with `trading-pipeline status`",
            client_order_id=client_order_id,
        )
    session, symbol = order.intent.session, order.intent.symbol

    def rows(dataset: Dataset) -> pl.DataFrame:
        if not lake.has(dataset, session):
            return pl.DataFrame()
        return lake.read_session(dataset, session).filter(pl.col("symbol") == symbol)

    recent = [day for day in lake.sessions(Dataset.BARS) if day <= session][-bars:]
    history = lake.read(Dataset.BARS, start=recent[0], end=recent[-1]) if recent else pl.DataFrame({"symbol": []})
    return Explanation(
        order=order,
        chain=ledger.chains.of(client_order_id),
        events=ledger.orders.events(client_order_id),
        verdicts=ledger.orders.decisions(client_order_id),
        fills=ledger.fills.of_order(client_order_id),
        target=rows(Dataset.TARGET_PORTFOLIO),
        prediction=rows(Dataset.PREDICTIONS),
        features=rows(Dataset.FEATURES),
        bars=history.filter(pl.col("symbol") == symbol),
    )


def _link(order: OrderRecord) -> dict[str, Any]:
    intent = order.intent
    return {
        "client_order_id": order.client_order_id,
        "replaces": order.replaces or "",
        "total": intent.qty,
        "limit": str(intent.limit_price or ""),
        "stop": str(intent.stop_price or ""),
        "state": order.state.value,
        "filled": f"{order.filled_qty:f}",
        "filled_before": f"{order.carried_qty:f}",
        "by": str(order.origin.get("operator", "")),
        "why": str(order.origin.get("reason", "")),
    }


def _facts(row: dict[str, Any]) -> Rows:
    return [{"what": name, "value": str(value)} for name, value in row.items() if value is not None and value != ""]


def _pick(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: str(row[name]) if row[name] is not None else "" for name in names}


def _rows(frame: pl.DataFrame) -> Rows:
    return [{name: str(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]
