"""Operator jobs: each asks who and why, does one thing to the account, and shows what it did."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl

from assets.context import table
from assets.submitted_orders import ORDER_LANE
from assets.tie_out import tie_out_events
from resources import LakeResource, TradingResource
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import PipelineError, TieOutFailed
from trading_pipeline.jobs.sessions import NEVER_RETRIED
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext, Verb
from trading_pipeline.services.arguments import Arguments, Takes


class OperatorConfig(dg.Config):
    """Who acts, and why in 10 to 512 characters. Both are kept in the audit trail."""

    operator: str
    reason: str


class SymbolConfig(OperatorConfig):
    """An operator action on one symbol."""

    symbol: str


class QuarantineConfig(SymbolConfig):
    """An operator action on one symbol, until an instant with its offset; empty: until it is undone."""

    until: str = ""


class LimitsConfig(OperatorConfig):
    """Limits to change by name, of the account or of a symbol, for good or until an instant with its offset.

    Without any limit the configured ones replace those of the account.
    """

    limits: dict[str, str] = {}  # noqa: RUF012 - a Dagster config copies it
    symbol: str = ""
    until: str = ""


class BarsConfig(SymbolConfig):
    """An operator's word on the bars of one symbol, of a session or of all from it through another (ISO dates)."""

    session: str
    through: str = ""


class OrderConfig(OperatorConfig):
    """An operator action on one order, by its client order id."""

    order: str


class ChangeConfig(OrderConfig):
    """What is to be different about an order: total of whole shares, limit and stop in dollars; empty keeps it."""

    qty: str = ""
    limit_price: str = ""
    stop_price: str = ""


class TwapConfig(SymbolConfig):
    """A large order to work over time.

    `twap` says by name what is asked: `side`, `qty` and `minutes`, and where the defaults will not do `slices`,
    `start`, `max_adv_bps`, `max_volume_bps`, `min_slice_shares`, `when_late`, `grace_seconds`, `repeat`.
    """

    twap: dict[str, str]


class ParentConfig(OperatorConfig):
    """An operator action on one large order, by its id."""

    parent: str


class SessionConfig(OperatorConfig):
    """An operator's word on one session (ISO date)."""

    session: str


CONFIGS: Mapping[Takes, type[OperatorConfig]] = {
    Takes.NOTHING: OperatorConfig,
    Takes.SYMBOL: SymbolConfig,
    Takes.SYMBOL_AND_END: QuarantineConfig,
    Takes.LIMITS: LimitsConfig,
    Takes.BARS: BarsConfig,
    Takes.ORDER: OrderConfig,
    Takes.CHANGE: ChangeConfig,
    Takes.POSITION: SymbolConfig,
    Takes.TWAP: TwapConfig,
    Takes.PARENT: ParentConfig,
    Takes.SESSION: SessionConfig,
}


ORDER_VERBS = frozenset(
    {
        "cancel_all_orders",
        "cancel_order",
        "close_session",
        "replace_order",
        "close_position",
        "cancel_twap",
        "flatten_positions",
    }
)


TIE_OUTS = frozenset({"tie_out", "close_session"})
"""What shows its answer on the asset of the tie-out."""


def _operator_job(name: str, verb: Verb) -> dg.JobDefinition:
    def run(
        context: dg.OpExecutionContext, config: OperatorConfig, trading: TradingResource, lake: LakeResource
    ) -> Iterator[Any]:
        said = Arguments(**config.model_dump(exclude=set(OperatorConfig.model_fields)))
        on = OperatorContext.of(trading.account, lake.lake(), RiskLimits.from_text(trading.risk.limits), said)
        try:
            rows = verb.act(on, OperatorAction(operator=config.operator, reason=config.reason))
        except PipelineError as error:
            # Yielded, not logged: a step that fails loses the events that wait in its context.
            if isinstance(error, TieOutFailed):
                yield from _newest_tie_out(on)
            fields = {key: str(value) for key, value in error.fields.items()}
            raise dg.Failure(error.message, metadata=fields, allow_retries=False) from error
        if name in TIE_OUTS:
            yield from _newest_tie_out(on)
        context.log.info("%s by %s: %s", name, config.operator, config.reason)
        context.add_output_metadata({"result": table(pl.DataFrame(rows)), "rows": len(rows)})
        yield dg.Output(None)

    run.__annotations__["config"] = CONFIGS[verb.takes]  # Dagster builds the launchpad from it
    act = dg.op(name=f"{name}_op", description=verb.description, out=dg.Out(dg.Nothing))(run)

    # The graph has a name of its own: an asset may be called like the job.
    @dg.graph(name=f"{name}_by_operator")
    def operator_graph() -> None:
        act.alias(name)()

    return operator_graph.to_job(
        name=name, description=verb.description, tags=_tags(name), executor_def=dg.in_process_executor
    )


def _newest_tie_out(on: OperatorContext) -> Iterator[Any]:
    found = on.account.ledger.tie_outs.newest(on.account.account)
    if found is not None:
        yield from tie_out_events(found)


def _tags(name: str) -> dict[str, str]:
    """Orders go through one lane; a halt must not wait in it."""
    lane = ORDER_LANE if name in ORDER_VERBS else {}
    return {**lane, **NEVER_RETRIED, "dagster/priority": "10"}


OPERATOR_JOBS = tuple(_operator_job(name, verb) for name, verb in OPERATOR_VERBS.items())
