"""The job by which an operator compares ledger, book and broker in the UI."""

import dagster as dg
import polars as pl

from assets.context import table
from resources import TradingResource
from trading_pipeline.errors import PipelineError
from trading_pipeline.jobs.sessions import NEVER_RETRIED
from trading_pipeline.services.differences import DIFFERENCE_COLUMNS
from trading_pipeline.services.verification import verify_book as verify

_SCHEMA = dict.fromkeys(DIFFERENCE_COLUMNS, pl.String)


@dg.op(name="compare_ledger_book_and_broker", out=dg.Out(dg.Nothing))
def _verify(context: dg.OpExecutionContext, trading: TradingResource) -> None:
    """Fail with the table of differences when there is one: a failed run becomes an alert."""
    try:
        verification = verify(trading.account)
    except PipelineError as error:
        raise dg.Failure(error.message, allow_retries=False) from error
    found = {"differences": table(pl.DataFrame(verification.rows(), schema=_SCHEMA))}
    if not verification.agrees:
        lines = "; ".join(one.describe() for one in verification.differences)
        raise dg.Failure(f"ledger, book and broker disagree: {lines}", metadata=found, allow_retries=False)
    context.log.info("ledger, book and broker agree")
    context.add_output_metadata(found)


@dg.job(
    name="verify_book",
    description="Compare ledger, book and broker now, and name each difference. Changes nothing.",
    tags=NEVER_RETRIED | {"dagster/priority": "10"},
    executor_def=dg.in_process_executor,
)
def verify_book() -> None:
    """See the description."""
    _verify()
