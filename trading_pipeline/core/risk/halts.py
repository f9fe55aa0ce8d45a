"""Kill switch, circuit breaker and reconciliation gate: their states, and who may move them."""

from dataclasses import dataclass
from enum import StrEnum

from trading_pipeline.errors import OperatorError

SHORTEST_REASON = 10
LONGEST_REASON = 512


class KillSwitch(StrEnum):
    """The operator's switch. ENGAGED: nothing clears but an operator's flatten."""

    DISENGAGED = "disengaged"
    ENGAGED = "engaged"


class Breaker(StrEnum):
    """The rule's switch. TRIPPED and QUIET_PERIOD: only reducing orders clear."""

    OPEN = "open"
    TRIPPED = "tripped"
    QUIET_PERIOD = "quiet_period"


class Gate(StrEnum):
    """The reconciliation gate. CLOSED until ledger, book and broker were seen to agree: only reducing orders clear."""

    OPEN = "open"
    CLOSED = "closed"


class TradingState(StrEnum):
    """What the account may do now, derived from everything above in one place: the guard's script."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAction:
    """Who did it and why. Every change of a halt state carries one.

    Raises:
        OperatorError: no operator, or a reason that is not 10 to 512 printable characters.
    """

    operator: str
    reason: str

    def __post_init__(self) -> None:
        if not self.operator.strip() or not self.operator.isprintable():
            raise OperatorError("an operator is required: say who acts", operator=self.operator)
        said, length = len(self.reason.strip()), len(self.reason)
        if said < SHORTEST_REASON or length > LONGEST_REASON or not self.reason.isprintable():
            raise OperatorError(
                f"a reason of {SHORTEST_REASON} to {LONGEST_REASON} printable characters is required, not"
                f" {said if said < SHORTEST_REASON else length}",
                reason=self.reason,
            )
