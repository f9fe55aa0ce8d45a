"""Large orders over time: what a plan would be, how those under way stand, and the process that sends their slices."""

import click

from trading_pipeline.cli.child import run_until_told
from trading_pipeline.cli.console import show
from trading_pipeline.cli.runtime import check_account, opened_account, opened_volumes, record_start, running_servers
from trading_pipeline.errors import ConfigError
from trading_pipeline.logs import configure_logging
from trading_pipeline.services.arguments import Arguments, twap_request
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.slices import SliceLoop, SliceService
from trading_pipeline.services.twap import (
    find_parent,
    parent_row,
    parent_rows,
    plan_row,
    plan_rows,
    preview,
    slice_rows,
)
from trading_pipeline.settings import load_settings

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")

TWAP_OPTIONS = (
    click.option("--side", required=True, type=click.Choice(["buy", "sell"])),
    click.option("--qty", required=True, help="Whole shares in all."),
    click.option("--minutes", required=True, help="How long it may take."),
    click.option("--slices", default="", help="How many slices; one a minute where it is left out."),
    click.option("--start", default="", help="Instant with its offset of the first slice; at once, or at the open."),
    click.option("--max-adv-bps", default="", help="Largest slice, 1/100 percent of the 20-day average volume [100]."),
    click.option("--max-volume-bps", default="", help="Largest slice, 1/100 percent of the volume since the last."),
    click.option("--min-slice-shares", default="", help="Least shares of a slice [1]."),
    click.option("--when-late", default="", help="A slice that could not be sent in time: run or expire [run]."),
    click.option("--grace-seconds", default="", help="How long after its time a late slice still runs [300]."),
    click.option("--repeat", default="", help="Number of a wanted repeat of the same order on one day [0]."),
)


def twap_arguments(*, symbol: str, **asked: str) -> Arguments:
    """Return what was said of a large order."""
    return Arguments(symbol=symbol, twap=asked)


@click.command("plan-twap")
@click.option("--symbol", required=True)
@_AS_JSON
def plan(symbol: str, *, as_json: bool, **asked: str) -> None:
    """Show the slices of a large order, their times and what differs from what was asked. Nothing is recorded."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with running_servers(settings) as environment, opened_account(settings, environment) as account:
        planned = preview(account, twap_request(account, twap_arguments(symbol=symbol, **asked)))
    if as_json:
        show([plan_row(planned) | {"slices": plan_rows(planned)}], title="plan", as_json=True)
        return
    show([plan_row(planned)], title="plan", as_json=False)
    show(plan_rows(planned), title="slices, times in UTC", as_json=False)


@click.command("show-twap")
@click.argument("parent", required=False)
@_AS_JSON
def standing(parent: str | None, *, as_json: bool) -> None:
    """Show how large orders stand, or the slices of PARENT."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with running_servers(settings) as environment, opened_account(settings, environment) as account:
        if parent is None:
            show(parent_rows(account), title="large orders", as_json=as_json)
            return
        found = find_parent(account, parent)
        if not as_json:
            show([parent_row(account, found)], title="large order", as_json=False)
        show(slice_rows(account, found), title="slices", as_json=as_json)


@click.command()
def slices() -> None:
    """Send the slices of large orders when they are due, until interrupted. Run one, and start it anew if it ends."""
    settings = load_settings()
    if settings.dry_run:
        raise ConfigError(
            "`slices` sends to an Alpaca account: the simulated exchange of DRY_RUN=true has no time of day"
        )
    configure_logging(settings.log_level)
    with (
        running_servers(settings) as environment,
        opened_account(settings, environment) as account,
        opened_volumes(settings, environment) as volumes,
    ):
        check_account(settings, environment)
        if account.prices is None:
            raise ConfigError("slices are sent at prices of order time, and the account has no source of them")
        record_start(account, "trading-pipeline slices")
        service = SliceService(account, Provenance(run_id="slices"), account.prices, volumes)
        loop = SliceLoop(service, account.clock.now)
        run_until_told(loop.run, loop.stop)


for _option in reversed(TWAP_OPTIONS):
    plan = _option(plan)

TWAP_COMMANDS = (plan, standing, slices)
