"""Which run wants to trade, and how it was started: no order comes from a backfill or a range."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Self

from trading_pipeline.core.orders.model import OrderIntent, Purpose
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError, SessionNotTradable

BACKFILL_TAG = "dagster/backfill"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an order comes from. Whoever submits must say so: the submission service asks for it.

    Attributes:
        run_id: the run, kept with every order it makes.
        backfill: id of the backfill the run belongs to; empty for a run of its own.
        sessions: the sessions the run was started for; none for an operator's action.
        in_range: the run was started for a range of sessions, be it a range of one.
        operator: the person who acts; empty for a run. Only a person flattens.
    """

    run_id: str
    backfill: str = ""
    sessions: tuple[date, ...] = ()
    in_range: bool = False
    operator: str = ""

    @classmethod
    def of_run(cls, run_id: str, tags: Mapping[str, str], sessions: Collection[date]) -> Self:
        """Read the provenance of a Dagster run from its tags and partition keys."""
        return cls(
            run_id=run_id,
            backfill=tags.get(BACKFILL_TAG, ""),
            sessions=tuple(sorted(sessions)),
            in_range=any(tag in tags for tag in RANGE_TAGS),
        )

    @classmethod
    def by_operator(cls, action: OperatorAction) -> Self:
        """Say that a person acts, now."""
        return cls(run_id=f"operator {action.operator}", operator=action.operator)

    def require_allowed(self, intent: OrderIntent) -> None:
        """Check that whoever submits may ask for an order of this purpose.

        Raises:
            OperatorError: a flatten, which passes an engaged kill switch, and no person asks for it.
        """
        if intent.purpose is Purpose.FLATTEN and not self.operator:
            raise OperatorError(
                f"only an operator's flatten_positions makes orders that flatten, and run {self.run_id} is no operator",
                run_id=self.run_id,
                client_order_id=intent.client_order_id,
            )

    def require_tradable(self, session: date | None = None) -> None:
        """Check that this run may make orders at all, and orders decided from `session` when that is given.

        Raises:
            SessionNotTradable: a backfill, a range, or a run of other sessions; the message says which.
        """
        named = [day.isoformat() for day in self.sessions[:20]]
        if self.backfill or self.in_range or len(self.sessions) > 1:
            kind = f"backfill {self.backfill}" if self.backfill else f"a range of {len(self.sessions)} session(s)"
            raise SessionNotTradable(
                f"orders are never made by a range or a backfill, and run {self.run_id} is {kind}: "
                "materialise `submitted_orders` for one session at a time, in a run of its own",
                run_id=self.run_id,
                backfill=self.backfill,
                sessions=named,
            )
        if session is not None and self.sessions and session not in self.sessions:
            raise SessionNotTradable(
                f"run {self.run_id} is of session {self.sessions[0]}: it makes no orders of session {session}",
                run_id=self.run_id,
                session=session.isoformat(),
                sessions=named,
            )
