"""The job that looks before the open at everything that orders depend on."""

from typing import Any

import dagster as dg
import polars as pl

from assets.context import table
from resources import LakeResource, TradingResource
from trading_pipeline.errors import PipelineError
from trading_pipeline.jobs.sessions import NEVER_RETRIED
from trading_pipeline.services.pre_open import CHECK_COLUMNS, check_before_open

_SCHEMA = dict.fromkeys(CHECK_COLUMNS, pl.String)


@dg.op(name="check_before_open", out=dg.Out(dg.Nothing))
def _check(context: dg.OpExecutionContext, trading: TradingResource, lake: LakeResource) -> None:
    """Fail with the table of checks when a blocking one failed: a failed run becomes an alert."""
    try:
        told = check_before_open(trading.account, lake.lake(), run_id=context.run.run_id)
    except PipelineError as error:
        raise dg.Failure(error.message, allow_retries=False) from error
    found: dict[str, Any] = {
        "checks": table(pl.DataFrame(told.rows(), schema=_SCHEMA)),
        "session": told.session.isoformat(),
    }
    if told.failed:
        raise dg.Failure(told.describe(), metadata=found, allow_retries=False)
    context.log.info(told.describe())
    context.add_output_metadata(found)


@dg.job(
    name="pre_open_checks",
    description="Look at account, clock, book, gate, data, features, tie-out and quarantine before the open. Sends "
    "nothing; what fails is written down as the reason why the session is not traded.",
    tags=NEVER_RETRIED | {"dagster/priority": "10"},
    executor_def=dg.in_process_executor,
)
def pre_open_checks() -> None:
    """See the description."""
    _check()
