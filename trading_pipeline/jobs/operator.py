"""Operator jobs: each asks who and why, does one thing to the account, and shows what it did."""

import dagster as dg
import polars as pl

from assets.context import table
from assets.submitted_orders import ORDER_LANE
from resources import LakeResource, TradingResource
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import PipelineError
from trading_pipeline.jobs.sessions import NEVER_RETRIED
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext, Verb


class OperatorConfig(dg.Config):
    """Who acts, and why in 10 to 512 characters. Both are kept in the audit trail."""

    operator: str
    reason: str


class SymbolConfig(OperatorConfig):
    """An operator action on one symbol."""

    symbol: str


def _operator_job(name: str, verb: Verb) -> dg.JobDefinition:
    def run(
        context: dg.OpExecutionContext,
        config: OperatorConfig,
        trading: TradingResource,
        lake: LakeResource,
        symbol: str,
    ) -> None:
        on = OperatorContext.of(trading.account, lake.lake(), RiskLimits.from_text(trading.risk.limits), symbol)
        try:
            rows = verb.act(on, OperatorAction(operator=config.operator, reason=config.reason))
        except PipelineError as error:
            fields = {key: str(value) for key, value in error.fields.items()}
            raise dg.Failure(error.message, metadata=fields, allow_retries=False) from error
        context.log.info("%s by %s: %s", name, config.operator, config.reason)
        context.add_output_metadata({"result": table(pl.DataFrame(rows)), "rows": len(rows)})

    if verb.takes_symbol:

        @dg.op(name=f"{name}_op", description=verb.description, out=dg.Out(dg.Nothing))
        def act(
            context: dg.OpExecutionContext, config: SymbolConfig, trading: TradingResource, lake: LakeResource
        ) -> None:
            run(context, config, trading, lake, config.symbol.strip().upper())
    else:

        @dg.op(name=f"{name}_op", description=verb.description, out=dg.Out(dg.Nothing))
        def act(
            context: dg.OpExecutionContext, config: OperatorConfig, trading: TradingResource, lake: LakeResource
        ) -> None:
            run(context, config, trading, lake, "")

    @dg.job(name=name, description=verb.description, tags=_tags(name), executor_def=dg.in_process_executor)
    def operator_job() -> None:
        act.alias(name)()

    return operator_job


def _tags(name: str) -> dict[str, str]:
    """Orders go through one lane; a halt must not wait in it."""
    lane = ORDER_LANE if name in ("cancel_all_orders", "flatten_positions") else {}
    return {**lane, **NEVER_RETRIED, "dagster/priority": "10"}


OPERATOR_JOBS = tuple(_operator_job(name, verb) for name, verb in OPERATOR_VERBS.items())
