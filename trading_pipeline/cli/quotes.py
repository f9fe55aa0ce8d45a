"""The command that listens to the quotes of the symbols that somebody needs, until it is told to end."""

import click

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.cli.child import run_until_told
from trading_pipeline.cli.runtime import alpaca_quotes, kept_quotes, opened_account, running_servers
from trading_pipeline.errors import ConfigError
from trading_pipeline.logs import configure_logging
from trading_pipeline.services.needs import quote_needs
from trading_pipeline.services.quotes import QuoteService
from trading_pipeline.settings import load_settings


@click.command()
def quotes() -> None:
    """Listen to the quotes of positions, targets and QUOTE_SYMBOLS, until interrupted. Run one, and start it anew."""
    settings = load_settings()
    if settings.dry_run:
        raise ConfigError("`quotes` is for an Alpaca account: the simulated exchange of DRY_RUN=true needs no quotes")
    configure_logging(settings.log_level)
    with (
        running_servers(settings) as environment,
        opened_account(settings, environment) as account,
        kept_quotes(settings, environment) as keeper,
    ):
        needs = quote_needs(account, Lake(settings.lake_root), settings.quote_symbols)
        service = QuoteService(
            alpaca_quotes(settings, environment),
            keeper,
            needs,
            most=settings.alpaca_stream_symbols,
            trading=lambda: account.calendar.is_open(account.clock.now()),
        )
        run_until_told(service.run, service.stop)
