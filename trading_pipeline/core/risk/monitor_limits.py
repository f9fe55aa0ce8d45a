"""The limits of the risk monitor: what trips the breaker without a person. They never enter the guard's book."""

from dataclasses import dataclass, fields
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorLimits:
    """When the breaker trips by itself. Equal to a limit passes; a fact that is unknown does not.

    Attributes:
        max_daily_loss_dollars: largest loss of one exchange session, realised - fees + change of unrealised, dollars.
        max_daily_loss_pct: the same in percent of the equity at the close before.
        max_drawdown_pct: largest fall of equity below its highest value so far, in percent of that.
        max_consecutive_broker_errors: calls in a row that the broker did not answer.
        max_reject_rate_pct: share of the orders answered in the window that the broker rejected.
        reject_rate_window_minutes: length of that window, wall-clock minutes.
        reject_rate_min_orders: answered orders below which the rate says nothing.
        max_mark_age_minutes: oldest price of a held symbol, in minutes in which the exchange was open.
        max_sessions_without_freshness: sessions up to the account's for which no data were judged fresh enough. One is
            usual: a session is settled before its own data are judged.
        max_unconfirmed_order_seconds: how long an order may be sent without an answer, wall-clock seconds.
    """

    max_daily_loss_dollars: Decimal = Decimal(50_000)
    max_daily_loss_pct: Decimal = Decimal(5)
    max_drawdown_pct: Decimal = Decimal(20)
    max_consecutive_broker_errors: int = 5
    max_reject_rate_pct: Decimal = Decimal(50)
    reject_rate_window_minutes: int = 60
    reject_rate_min_orders: int = 10
    max_mark_age_minutes: int = 390
    max_sessions_without_freshness: int = 1
    max_unconfirmed_order_seconds: int = 300

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not Decimal(value).is_finite() or value < 0:
                msg = f"{field.name} must be a finite number of at least 0, not {value}"
                raise ValueError(msg)
