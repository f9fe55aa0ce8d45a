"""What the product and Dagster import late, imported once by the process that all others are forked from."""

from importlib import import_module

import dagster as dg

from support.paper.processes import QUIET

for name in (
    "alpaca.data.historical.corporate_actions",
    "dagster_postgres",
    "psycopg2.extras",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "trading_pipeline.adapters.broker.alpaca.updates",
    "trading_pipeline.adapters.market_data.alpaca.opening",
    "trading_pipeline.instance.event_log",
    "upath.implementations.local",
    "watchdog.observers.polling",
):
    import_module(name)


@dg.op
def _nothing() -> None:
    """Do nothing."""


@dg.job
def _idle() -> None:
    _nothing()


with dg.DagsterInstance.ephemeral() as instance:
    assert _idle.execute_in_process(instance=instance, run_config=QUIET).success
