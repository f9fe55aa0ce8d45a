"""What Dagster sees: everything loads, without secrets, under the names operators rely on."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from trading_pipeline.core.sessions import xnys
from trading_pipeline.definitions import build_definitions
from trading_pipeline.partitions import SESSIONS
from trading_pipeline.schedules import (
    features_schedule,
    pre_open_schedule,
    reconcile_schedule,
    session_schedule,
    tie_out_schedule,
)
from trading_pipeline.settings import Settings


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    """The definitions of a default deployment."""
    return build_definitions(Settings(_env_file=None))


def test_everything_loads_without_servers_or_secrets(defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a code location would load it."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    dg.Definitions.validate_loadable(defs)
    assert defs.get_repository_def().get_all_jobs()


def test_assets_and_jobs_have_the_agreed_names(defs: dg.Definitions) -> None:
    """The outside interface."""
    assets = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert {
        "raw_bars",
        "corporate_actions",
        "bars",
        "quarantined_bars",
        "features",
        "model",
        "predictions",
        "target_portfolio",
        "submitted_orders",
        "fills",
        "positions",
        "pnl",
        "restatement_report",
        "risk_status",
        "tie_out",
    } == assets
    jobs = {job.name for job in defs.get_repository_def().get_all_jobs()} - {"__ASSET_JOB"}
    assert {
        "daily_session",
        "features_celery",
        "features_sharded",
        "history",
        "compare_restated",
        "reports",
        "session_features",
        "submit_orders",
        "trade_session",
        "train_model",
        "initialize_risk_book",
        "rebuild_risk_book",
        "accept_bars",
        "revoke_acceptance",
        "engage_kill_switch",
        "disengage_kill_switch",
        "trip_circuit_breaker",
        "reset_circuit_breaker",
        "set_risk_limits",
        "reset_equity_peak",
        "pre_open_checks",
        "close_session",
        "verify_book",
        "accept_external",
        "redrive_inbox",
        "reconcile",
        "tie_out",
        "accept_cash",
        "explain_session",
        "close_gate",
        "open_gate",
        "quarantine_symbol",
        "release_symbol",
        "block_symbol",
        "cancel_order",
        "close_position",
        "replace_order",
        "unblock_symbol",
        "cancel_all_orders",
        "flatten_positions",
        "start_twap",
        "cancel_twap",
    } == jobs


def test_every_asset_is_owned_grouped_and_described(defs: dg.Definitions) -> None:
    """The UI explains itself."""
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.owners, key
        assert node.description, key
        assert "default" != node.group_name, key


def test_partitions_are_the_sessions_of_the_exchange() -> None:
    """No weekend, no holiday, no special closure, and nothing that is not over."""
    now = datetime(2023, 9, 22, 4, 1, tzinfo=UTC)
    keys = SESSIONS.get_partition_keys(current_time=now)
    assert [day.isoformat() for day in xnys().between(date(2000, 1, 3), date(2023, 9, 21))] == keys


def test_a_session_is_addressable_from_the_next_midnight_in_new_york() -> None:
    """Not a minute earlier."""
    midnight = datetime(2023, 9, 22, 4, 0, tzinfo=UTC)
    assert "2023-09-21" in SESSIONS.get_partition_keys(current_time=midnight)
    assert "2023-09-21" not in SESSIONS.get_partition_keys(current_time=midnight - timedelta(minutes=1))


@pytest.mark.parametrize(
    ("tick", "session"),
    [
        ("2023-07-05", None),  # the day after Independence Day
        ("2023-07-04", "2023-07-03"),  # after a half day
        ("2023-07-08", "2023-07-07"),  # Saturday morning trades Friday
        ("2023-07-09", None),
        ("2023-07-10", None),
        ("2023-11-24", None),  # the day after Thanksgiving
        ("2023-11-25", "2023-11-24"),  # after the half day that follows it
        ("2023-03-12", None),  # the night in which clocks go forward
        ("2023-03-14", "2023-03-13"),  # after daylight saving began
        ("2023-11-05", None),  # the night in which clocks go back
        ("2023-11-07", "2023-11-06"),  # after daylight saving ended
        ("2024-01-02", None),
        ("2024-01-03", "2024-01-02"),
        ("2025-01-10", None),  # a day of mourning
    ],
)
@pytest.mark.parametrize(
    ("schedule", "hour", "purpose"), [(features_schedule, "04:00", "features"), (session_schedule, "04:30", "session")]
)
def test_the_schedules_fire_once_a_session_and_name_the_days_they_skip(
    defs: dg.Definitions, tick: str, session: str | None, schedule: dg.ScheduleDefinition, hour: str, purpose: str
) -> None:
    """At their hour in New York, whatever day it is: features first, half an hour before the session."""
    at = datetime.fromisoformat(f"{tick}T{hour}:00").replace(tzinfo=ZoneInfo("America/New_York"))
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=defs.get_repository_def())
    answer = schedule.evaluate_tick(context)
    requested = [(request.partition_key, request.run_key) for request in answer.run_requests]
    assert ([] if session is None else [(session, f"{purpose}:{session}")]) == requested
    if session is None:
        yesterday = (date.fromisoformat(tick) - timedelta(days=1)).isoformat()
        assert answer.skip_message is not None
        assert yesterday in answer.skip_message


@pytest.mark.parametrize(
    ("tick", "asked"),
    [
        ("2023-09-05T08:55", False),
        ("2023-09-05T09:00", True),
        ("2023-09-05T16:30", True),
        ("2023-09-05T16:35", False),
        ("2023-07-03T13:30", True),  # a half day
        ("2023-07-03T13:35", False),
        ("2023-07-04T12:00", False),
        ("2023-09-09T12:00", False),
    ],
)
def test_the_account_is_reconciled_while_the_exchange_is_open_and_shortly_around(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch, tick: str, *, asked: bool
) -> None:
    """With a configuration that the job takes; half days and holidays known."""
    at = datetime.fromisoformat(tick).replace(tzinfo=ZoneInfo("America/New_York"))
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=defs.get_repository_def())
    requests = reconcile_schedule.evaluate_tick(context).run_requests
    assert asked == bool(requests)
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.setenv(name, "for validation only")
    job = defs.resolve_job_def("reconcile")
    assert all(dg.validate_run_config(job, request.run_config) for request in requests)


@pytest.mark.parametrize(
    ("tick", "utc", "asked"),
    [
        ("2023-09-05T09:00", "13:00", True),
        ("2023-09-05T04:25", "08:25", True),
        ("2023-07-03T09:00", "13:00", True),  # a half day
        ("2023-07-04T09:00", "13:00", False),
        ("2023-09-09T09:00", "13:00", False),
        ("2023-03-10T09:00", "14:00", True),  # before the clocks go forward
        ("2023-03-13T09:00", "13:00", True),
        ("2023-11-03T09:00", "13:00", True),  # before they go back
        ("2023-11-06T09:00", "14:00", True),
    ],
)
def test_the_checks_before_the_open_are_asked_for_on_every_session(
    defs: dg.Definitions, tick: str, utc: str, *, asked: bool
) -> None:
    """Twice, in New York's own time; a day on which the exchange does not open is named."""
    at = datetime.fromisoformat(tick).replace(tzinfo=ZoneInfo("America/New_York"))
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=defs.get_repository_def())
    answer = pre_open_schedule.evaluate_tick(context)
    assert utc == at.astimezone(ZoneInfo("UTC")).strftime("%H:%M")
    assert ([f"pre_open_checks:{at.isoformat()}"] if asked else []) == [one.run_key for one in answer.run_requests]
    assert asked or tick[:10] in (answer.skip_message or "")
    ticks = {f"{minute}" for minute in pre_open_schedule.cron_schedule}
    assert {"25 4 * * *", "0 9 * * *"} == ticks


@pytest.mark.parametrize(
    ("tick", "asked"),
    [
        ("2023-09-05T16:45", True),
        ("2023-09-05T13:45", False),
        ("2023-07-03T13:45", True),  # a half day
        ("2023-07-03T16:45", False),
        ("2023-07-04T16:45", False),
        ("2023-09-09T13:45", False),
    ],
)
def test_every_session_is_tied_out_after_its_close(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch, tick: str, *, asked: bool
) -> None:
    """A half day early, a holiday and a Saturday not, with a configuration that the job takes."""
    at = datetime.fromisoformat(tick).replace(tzinfo=ZoneInfo("America/New_York"))
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=defs.get_repository_def())
    requests = tie_out_schedule.evaluate_tick(context).run_requests
    assert ([f"close_session:{tick[:10]}"] if asked else []) == [request.run_key for request in requests]
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.setenv(name, "for validation only")
    job = defs.resolve_job_def("close_session")
    assert all(dg.validate_run_config(job, request.run_config) for request in requests)


@pytest.mark.parametrize(
    "name", ["features_schedule", "session_schedule", "pre_open_schedule", "reconcile_schedule", "tie_out_schedule"]
)
def test_the_schedules_are_stopped_until_someone_starts_them(defs: dg.Definitions, name: str) -> None:
    """Nothing trades because it was deployed."""
    assert dg.DefaultScheduleStatus.STOPPED is defs.resolve_schedule_def(name).default_status


def test_features_are_asked_for_before_the_open_and_the_half_hour_of_the_session(defs: dg.Definitions) -> None:
    """On every day of the year, in New York's own time: a job of the features and what they are made of."""
    early, late = (defs.resolve_schedule_def(name) for name in ("features_schedule", "session_schedule"))
    assert ("0 4 * * *", "30 4 * * *") == (early.cron_schedule, late.cron_schedule)
    assert "America/New_York" == early.execution_timezone == late.execution_timezone
    selected = defs.resolve_job_def("session_features").asset_layer.selected_asset_keys
    assert {"raw_bars", "corporate_actions", "bars", "quarantined_bars", "features"} == {
        key.to_user_string() for key in selected
    }


def test_orders_come_after_the_tie_out_of_their_session(defs: dg.Definitions) -> None:
    """One that fails stops the run before them."""
    graph = defs.resolve_asset_graph()
    assert dg.AssetKey("tie_out") in graph.get(dg.AssetKey("submitted_orders")).parent_keys
    (check,) = graph.get_check_keys_for_assets({dg.AssetKey("tie_out")})
    assert graph.get_check_spec(check).blocking
    for job in ("daily_session", "trade_session"):
        assert dg.AssetKey("tie_out") in defs.resolve_job_def(job).asset_layer.selected_asset_keys


def test_orders_go_through_one_lane_and_are_never_retried(defs: dg.Definitions) -> None:
    """By the tags that `dagster.yaml` limits."""
    for name in ("daily_session", "trade_session", "submit_orders"):
        tags = defs.resolve_job_def(name).tags
        assert "orders" == tags["trading/lane"]
        assert "0" == tags["dagster/max_retries"]
