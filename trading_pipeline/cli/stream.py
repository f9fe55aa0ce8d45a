"""The command that listens to the broker's stream until it is told to end."""

import click

from trading_pipeline.cli.child import run_until_told
from trading_pipeline.cli.runtime import alpaca_stream, check_account, opened_account, record_start, running_servers
from trading_pipeline.errors import ConfigError
from trading_pipeline.logs import configure_logging
from trading_pipeline.services.stream import StreamService
from trading_pipeline.settings import load_settings


@click.command()
def stream() -> None:
    """Listen to the Alpaca account's events and book them, until interrupted. Run one, and start it anew if it ends."""
    settings = load_settings()
    if settings.dry_run:
        raise ConfigError("`stream` listens to an Alpaca account: the simulated exchange of DRY_RUN=true has no stream")
    configure_logging(settings.log_level)
    with running_servers(settings) as environment, opened_account(settings, environment) as account:
        check_account(settings, environment)
        record_start(account, "trading-pipeline stream")
        frames, read = alpaca_stream(settings, environment)
        service = StreamService(account, frames, read)
        run_until_told(service.run, service.stop)
