"""The commands. Each is thin: settings, servers, one call, one table."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.cli.child import run_in_foreground, run_service, wait_for_the_end
from trading_pipeline.cli.console import REFUSED, UNAVAILABLE, exit_codes, out, show
from trading_pipeline.cli.data import DATA_COMMANDS
from trading_pipeline.cli.ledger import check_rows, parse_head, problem_rows
from trading_pipeline.cli.quotes import quotes
from trading_pipeline.cli.runtime import check_account, opened_account, running_servers, start_account
from trading_pipeline.cli.stream import stream
from trading_pipeline.cli.twap import TWAP_COMMANDS, TWAP_OPTIONS, twap_arguments
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import stop_embedded
from trading_pipeline.errors import ConfigError
from trading_pipeline.logs import configure_logging
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext, Verb
from trading_pipeline.services.arguments import Arguments, Takes
from trading_pipeline.services.explain import explain
from trading_pipeline.services.reports import TOLD
from trading_pipeline.services.status import read_status
from trading_pipeline.services.verification import verify_book
from trading_pipeline.settings import Settings, load_settings

HOLDOUT_SESSIONS = 20
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trading-pipeline")
def cli() -> None:
    """Market data to orders, every session, behind one atomic risk check."""


@cli.command()
@click.option(
    "--sessions",
    type=click.IntRange(1, HOLDOUT_SESSIONS),
    default=HOLDOUT_SESSIONS,
    show_default=True,
    help="How many of the newest sessions to trade; the model is trained on those before.",
)
def run(sessions: int) -> None:
    """Load bars, compute features, train, and trade the newest sessions one after another. Resumes where it stopped."""
    settings = load_settings()
    if not settings.dry_run:
        raise ConfigError(
            "`run` trades past sessions, which only the simulated exchange can: leave DRY_RUN=true for it; orders for "
            "Alpaca are made by the schedule and the jobs of `trading-pipeline ui`"
        )
    log_file = settings.pipeline_home.absolute() / "logs" / "run.jsonl"
    configure_logging(settings.log_level, file=log_file)
    with running_servers(settings) as environment:
        # The pipeline needs Dagster and the definitions, which take seconds to import; other commands do not.
        with out.status("loading the pipeline"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from trading_pipeline.cli.run import run_everything  # noqa: PLC0415
        run_everything(settings, environment, sessions)
        out.print(f"the log of this run is in {log_file}")


@cli.command()
@AS_JSON
def status(*, as_json: bool) -> None:
    """Show halts, limits, exposure, open orders, the last sessions and alerts."""
    settings = _start()
    with running_servers(settings) as environment, opened_account(settings, environment) as account:
        report = read_status(account)
        if as_json:
            show([report.as_dict()], title="status", as_json=True)
        else:
            for title, rows in report.sections():
                show(rows, title=title, as_json=False)
    if not report.healthy:
        raise SystemExit(REFUSED)


@cli.command("verify-book")
@AS_JSON
def verify(*, as_json: bool) -> None:
    """Compare ledger, book and broker now, and name each difference. Exit code 1 when there is one."""
    settings = _start()
    with running_servers(settings) as environment, opened_account(settings, environment) as account:
        verification = verify_book(account)
    show(verification.rows(), title="differences of ledger, book and broker", as_json=as_json)
    if not verification.agrees:
        raise SystemExit(REFUSED)


@cli.command("explain")
@click.argument("client_order_id")
@AS_JSON
def explain_order(client_order_id: str, *, as_json: bool) -> None:
    """Show everything that caused an order: verdict, target, prediction, features and bars."""
    settings = _start()
    with running_servers(settings) as environment, opened_account(settings, environment) as account:
        chain = explain(client_order_id, ledger=account.ledger, lake=Lake(settings.lake_root))
    if as_json:
        show([chain.as_dict()], title="explanation", as_json=True)
        return
    for title, rows in chain.sections():
        show(rows, title=title, as_json=False)


@cli.command("verify-ledger")
@click.option("--head", help="A head printed earlier, SEQ:HASH; the chain must still hold that link.")
@AS_JSON
def verify_ledger(head: str | None, *, as_json: bool) -> None:
    """Check that nothing in the ledger was changed, removed or added since it was written, and all that follows."""
    settings = _start()
    written_down = parse_head(head) if head else None
    with running_servers(settings) as environment, Ledger(environment["DATABASE_URL"]) as ledger:
        check = ledger.seals.verify(written_down)
    if as_json:
        show([row | {"listed": problem_rows(check)} for row in check_rows(check)], title="ledger", as_json=True)
    else:
        show(check_rows(check), title="ledger", as_json=False)
        show(problem_rows(check), title="problems", as_json=False)
    if not check.sound:
        raise SystemExit(REFUSED)


@cli.command("import-bars")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--reference", "vendor", help="Name of a second vendor: its bars are compared with, never traded on.")
@click.option(
    "--defects",
    type=click.Choice(["refuse", "quarantine"]),
    default="refuse",
    show_default=True,
    help="Of rows no market can have made: refuse the file, or import them for the quality gate to keep out.",
)
@click.option(
    "--minutes",
    "label",
    type=click.Choice(["start", "end", "detect"]),
    help="FILE has minute bars, stamped at the start or the end of the minute: they are made into daily ones.",
)
@AS_JSON
def import_bars_file(file: Path, vendor: str | None, defects: str, label: str | None, *, as_json: bool) -> None:
    """Import bars from a CSV or Parquet FILE: all of it, or nothing with the reasons."""
    # polars only where it is needed
    from trading_pipeline.adapters.market_data.importing import Defects, import_bars, import_minutes  # noqa: PLC0415
    from trading_pipeline.core.minute_bars import MinuteLabel  # noqa: PLC0415

    if label is not None and (vendor is not None or Defects(defects) is not Defects.REFUSE):
        raise click.UsageError("--minutes goes with neither --reference nor --defects")
    settings = _start()
    lake, now = Lake(settings.lake_root), SystemClock().now()
    if label is None:
        report = import_bars(file, lake, calendar=xnys(), now=now, reference=vendor, defects=Defects(defects))
    else:
        known = None if label == "detect" else MinuteLabel(label)
        report = import_minutes(file, lake, calendar=xnys(), now=now, label=known)
    row = {
        "rows": report.rows,
        "symbols": ", ".join(report.symbols),
        "first_session": report.sessions[0].isoformat(),
        "last_session": report.sessions[-1].isoformat(),
        "new": report.new_rows,
        "restated": report.restated_rows,
        "unchanged": report.unchanged_rows,
        "defective": report.defective_rows,
        "sessions_changed": len(report.changed_sessions),
        **{f"minutes_{why}": count for why, count in report.left_out.items()},
    }
    show([row], title=f"imported {file}", as_json=as_json)


@cli.command("check-lookahead")
@click.option("--set", "named", help="alpha158, alpha360, labels, or a file; FEATURE_SET where it is left out.")
@click.option("--cuts", type=click.IntRange(min=1), default=8, show_default=True, help="Sessions to cut at.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random cuts and symbols.")
@click.option("--symbols", type=click.IntRange(min=1), default=50, show_default=True, help="Symbols drawn at random.")
@AS_JSON
def check_lookahead_of_features(*, named: str | None, cuts: int, seed: int, symbols: int, as_json: bool) -> None:
    """Check on the lake's bars that no feature uses the future; exits with 1 and names those that do."""
    # polars and the compiler are imported only where they are needed
    from trading_pipeline.adapters.feature_files import load_feature_set  # noqa: PLC0415
    from trading_pipeline.services.lookahead import check_lookahead, labels  # noqa: PLC0415

    settings = _start()
    feature_set = labels() if named == "labels" else load_feature_set(named or settings.feature_set)
    report = check_lookahead(Lake(settings.lake_root), feature_set, cuts=cuts, seed=seed, symbols=symbols)
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    else:
        facts = {name: value for name, value in report.as_dict().items() if name not in {"leaks", "hash"}}
        show([facts], title="looked at", as_json=False)
        show(report.rows(), title="features that use the future", as_json=False)
    if report.leaks:
        raise SystemExit(REFUSED)


@cli.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(command: tuple[str, ...]) -> None:
    """Run COMMAND with the servers up and the environment set, e.g. `exec -- dagster asset materialize ...`."""
    settings = _start()
    with running_servers(settings):
        code = run_in_foreground(command)
    raise SystemExit(code)


@cli.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def ui(port: int, host: str) -> None:
    """Serve the Dagster UI with its daemon until interrupted."""
    settings = _start()
    with running_servers(settings) as environment:
        check_account(settings, environment)
        start_account(settings, environment)
        out.print(f"Dagster UI on http://{host}:{port} (stop with ^C)")
        module = ["-m", "trading_pipeline.definitions"]
        command = [sys.executable, "-m", "dagster", "dev", *module, "-p", str(port), "-h", host]
        code = run_service(command)
    raise SystemExit(code)


@cli.command("record-start")
def start_of_processes() -> None:
    """Record a start of processes that `ui` does not start, and reconcile: until then only reducing orders clear."""
    settings = _start()
    with running_servers(settings) as environment:
        check_account(settings, environment)
        start_account(settings, environment)


@cli.command()
def up() -> None:
    """Keep the servers up until interrupted; other commands share them."""
    settings = _start()
    with running_servers(settings):
        out.print(f"servers are up under {settings.pipeline_home.absolute()} (stop with ^C)")
        wait_for_the_end()


@cli.command()
def down() -> None:
    """Stop the embedded servers, whoever uses them."""
    settings = _start()
    if not stop_embedded(settings.pipeline_home.absolute()):
        out.print("no embedded servers were running")
        raise SystemExit(UNAVAILABLE)
    out.print("the embedded servers are stopped")


def _said(takes: Takes) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of what a verb wants to be told."""
    until = click.option("--until", default="", help="Instant with its offset at which this ends by itself.")
    symbol = click.option("--symbol", required=takes is not Takes.LIMITS, default="" if takes is Takes.LIMITS else None)
    limit = click.option(
        "--limit", "limits", multiple=True, metavar="NAME=VALUE", help="A limit to change; may be given more than once."
    )
    session = click.option("--session", required=True, help="The session, such as 2024-07-03, or the first of a range.")
    through = click.option("--through", default="", help="The last session of the range.")
    order = click.argument("order", metavar="ORDER")
    change = (
        click.option("--qty", default="", help="Total of shares, those filled already included."),
        click.option("--limit", "limit_price", default="", help="Limit price in dollars."),
        click.option("--stop", "stop_price", default="", help="Stop price in dollars."),
    )
    options: tuple[Callable[..., Any], ...] = {
        Takes.NOTHING: (),
        Takes.SYMBOL: (symbol,),
        Takes.SYMBOL_AND_END: (symbol, until),
        Takes.LIMITS: (limit, symbol, until),
        Takes.BARS: (symbol, session, through),
        Takes.ORDER: (order,),
        Takes.CHANGE: (order, *change),
        Takes.POSITION: (click.argument("symbol", metavar="SYMBOL"),),
        Takes.TWAP: (symbol, *TWAP_OPTIONS),
        Takes.PARENT: (click.argument("parent", metavar="PARENT"),),
        Takes.SESSION: (session,),
    }[takes]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _arguments(*, limits: tuple[str, ...] = (), **said: Any) -> Arguments:
    pairs = [limit.partition("=") for limit in limits]
    for name, equals, value in pairs:
        if not name or not equals or not value:
            raise ConfigError(f"a limit is written NAME=VALUE, not {name}{equals}{value}")
    return Arguments(**said, limits={name.strip(): value.strip() for name, _, value in pairs})


def _operator_command(name: str, verb: Verb) -> None:
    @cli.command(name.replace("_", "-"), help=verb.description)
    @click.option("--operator", required=True, help="Who acts.")
    @click.option("--reason", required=True, help="Why, in 10 to 512 characters; kept in the audit trail.")
    @_said(verb.takes)
    @AS_JSON
    def command(operator: str, reason: str, *, as_json: bool, **said: Any) -> None:
        action = OperatorAction(operator=operator, reason=reason)
        arguments = twap_arguments(**said) if verb.takes is Takes.TWAP else _arguments(**said)
        settings = _start()
        with running_servers(settings) as environment, opened_account(settings, environment) as account:
            lake = Lake(settings.lake_root)
            rows = verb.act(OperatorContext.of(account, lake, settings.limits, arguments), action)
        show(rows, title=name, as_json=as_json)
        if any(row.get("book", TOLD) != TOLD for row in rows):
            raise SystemExit(REFUSED)


for _command in (*DATA_COMMANDS, *TWAP_COMMANDS, quotes, stream):
    cli.add_command(_command)
for _name, _verb in OPERATOR_VERBS.items():
    _operator_command(_name, _verb)


def _start() -> Settings:
    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def main() -> None:
    """Run the command line; the exit code says how it went."""
    with exit_codes():
        sys.exit(cli.main(standalone_mode=False))
