"""Bars through the real alpaca-py client: paging, sessions, restarts, the 15-minute rule."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from support.alpaca.data_api import BARS_PATH, bar_routes
from support.alpaca.server import AlpacaServer, Fault

from tests.adapters.alpaca.conftest import SYMBOLS, Waits
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.adapters.market_data.alpaca import AlpacaBars, Feed
from trading_pipeline.adapters.market_data.alpaca.pages import MAX_AGE, StagedPages
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError, ServerUnavailable

SESSIONS = xnys().between(date(2024, 6, 25), date(2024, 7, 9))
Sources = Callable[..., AlpacaBars]


@pytest.fixture
def make_source(make_reader: Callable[..., AlpacaReader], waits: Waits, tmp_path: Path) -> Sources:
    """Make sources that share one folder of pages, as processes of one machine do."""

    def make(*, feed: Feed = Feed.SIP) -> AlpacaBars:
        reader = make_reader(bounds=Bounds(read_seconds=0.3, total_seconds=0.6, attempts=2))
        return AlpacaBars(reader, pages=StagedPages(tmp_path, waits), calendar=xnys(), clock=waits, feed=feed)

    return make


def asked(server: AlpacaServer) -> list[str | None]:
    """The page tokens of all requests so far."""
    return [query.get("page_token") for _, path, query in server.journal if path == BARS_PATH]


def test_every_row_arrives_over_short_pages_of_all_symbols(
    make_source: Sources, server: AlpacaServer, daily: pl.DataFrame
) -> None:
    """Forty rows over pages of seven are all there, in the sessions whose New York midnight they are stamped with."""
    bars = make_source().bars(SESSIONS, SYMBOLS)
    assert daily["close"].to_list() == bars.sort("symbol", "session")["close"].to_list()
    assert [(session, symbol) for session in SESSIONS for symbol in SYMBOLS] == bars.select("session", "symbol").rows()
    assert 6 == len(asked(server))
    assert {"alpaca/sip/raw"} == set(bars["source"])
    half_day = bars.filter(pl.col("session") == date(2024, 7, 3))["ended_at"].unique().to_list()
    assert [datetime(2024, 7, 3, 17, tzinfo=UTC)] == half_day


def test_only_raw_prices_of_the_symbols_as_they_were_are_asked_for(make_source: Sources, server: AlpacaServer) -> None:
    """Adjustment and feed are said, never left to a default, and symbols mean who had them in the last session."""
    make_source(feed=Feed.IEX).bars(SESSIONS, SYMBOLS)
    query = server.journal[0][2]
    assert ("raw", "iex", "2024-07-09", "asc") == tuple(query[key] for key in ("adjustment", "feed", "asof", "sort"))


def test_a_symbol_alpaca_does_not_know_has_no_rows(make_source: Sources) -> None:
    """It is absent from the answer, which is no error."""
    bars = make_source().bars(SESSIONS, ["AAPL", "NOSUCH"])
    assert ["AAPL"] == bars["symbol"].unique().to_list()


def test_only_the_sessions_asked_for_are_fetched(make_source: Sources, server: AlpacaServer) -> None:
    """Two distant sessions are two requests: what lies between is neither fetched nor given."""
    wanted = [SESSIONS[0], SESSIONS[-1]]
    bars = make_source().bars(wanted, SYMBOLS)
    assert wanted == bars["session"].unique().sort().to_list()
    spans = [(query["start"], query["end"]) for _, _, query in server.journal]
    assert all(start == end for start, end in spans)


def test_a_restart_goes_on_after_the_last_page(make_source: Sources, server: AlpacaServer) -> None:
    """A failure in the middle keeps what was fetched: no page is asked for twice, and all rows are there."""
    server.plan(None, None, None, *[Fault(status=503)] * 2)
    with pytest.raises(ServerUnavailable):
        make_source().bars(SESSIONS, SYMBOLS)
    before = asked(server)[:3]
    server.requests.clear()
    assert 40 == make_source().bars(SESSIONS, SYMBOLS).height
    assert not set(before) & set(asked(server))
    assert 3 == len(asked(server))


def test_a_crash_before_the_rows_are_stored_fetches_nothing_again(make_source: Sources, server: AlpacaServer) -> None:
    """Complete pages serve the next try; once the rows are said to be stored, Alpaca is asked anew."""
    first = make_source().bars(SESSIONS, SYMBOLS)
    server.requests.clear()
    source = make_source()
    assert first.equals(source.bars(SESSIONS, SYMBOLS))
    assert [] == asked(server)
    source.delivered(SESSIONS, SYMBOLS)
    source.bars(SESSIONS, SYMBOLS)
    assert 6 == len(asked(server))


def test_pages_of_another_day_are_not_mixed_with_new_ones(
    make_source: Sources, server: AlpacaServer, waits: Waits
) -> None:
    """What was fetched too long ago is fetched again as a whole."""
    server.plan(None, None, None, *[Fault(status=503)] * 2)
    with pytest.raises(ServerUnavailable):
        make_source().bars(SESSIONS, SYMBOLS)
    server.requests.clear()
    waits.instant += MAX_AGE + timedelta(seconds=1)
    assert 40 == make_source().bars(SESSIONS, SYMBOLS).height
    assert 6 == len(asked(server))


def test_pages_of_a_retrieval_nobody_went_on_with_are_removed(
    make_source: Sources, server: AlpacaServer, waits: Waits, tmp_path: Path
) -> None:
    """By the next retrieval of anything, once they are too old to be used."""
    server.plan(None, None, None, *[Fault(status=503)] * 2)
    with pytest.raises(ServerUnavailable):
        make_source().bars(SESSIONS, SYMBOLS)
    left = set(tmp_path.rglob("*.parquet"))
    assert 3 == len(left)
    make_source().bars(SESSIONS[:1], SYMBOLS)
    assert left < set(tmp_path.rglob("*.parquet"))
    waits.instant += MAX_AGE + timedelta(seconds=1)
    make_source().bars(SESSIONS[1:2], SYMBOLS)
    assert 1 == len(list(tmp_path.rglob("*.parquet")))
    assert 1 == len(list(tmp_path.iterdir()))


def test_a_half_written_page_counts_as_absent(make_source: Sources, server: AlpacaServer, tmp_path: Path) -> None:
    """A crash while a page is written leaves a temporary file that nobody reads."""
    make_source().bars(SESSIONS, SYMBOLS)
    last = max(tmp_path.rglob("*.parquet"))
    last.rename(last.with_suffix(".999.tmp"))
    server.requests.clear()
    assert 40 == make_source().bars(SESSIONS, SYMBOLS).height
    assert 1 == len(asked(server))


def test_paging_that_leads_back_is_an_error(make_source: Sources, server: AlpacaServer) -> None:
    """A server that gives the same token for ever is caught at the first repetition."""
    server.routes["GET", BARS_PATH] = lambda _: {"bars": {}, "next_page_token": "again"}
    with pytest.raises(DataQualityError, match="does not end"):
        make_source().bars(SESSIONS, SYMBOLS)
    assert 2 == len(asked(server))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"bars": []}, "not an object by symbol"),
        ({"bars": {"AAPL": [{"o": 1.0}]}}, "without a time"),
        ({"bars": {"AAPL": [{"t": "yesterday", "o": 1.0}]}}, "documented form"),
        ({"bars": {"AAPL": [{"t": "2024-07-09T04:00:00Z", "o": "dear"}]}}, "documented form"),
        ({"bars": {"AAPL": [{"t": "2024-07-09T05:00:00Z", "o": 1.0}]}}, "not stamped midnight"),
    ],
)
def test_an_answer_of_another_form_is_named(
    answer: dict[str, object], message: str, make_source: Sources, server: AlpacaServer
) -> None:
    """Nothing is guessed from bars whose time or shape is not the documented one."""
    server.routes["GET", BARS_PATH] = lambda _: answer
    with pytest.raises(DataQualityError, match=message):
        make_source().bars(SESSIONS, SYMBOLS)


@pytest.mark.parametrize("empty", [{"bars": None, "next_page_token": None}, {"bars": {"AAPL": None}}, {}])
def test_an_empty_answer_is_no_rows(empty: dict[str, object], make_source: Sources, server: AlpacaServer) -> None:
    """Alpaca writes null for nothing, of all symbols or of one."""
    server.routes["GET", BARS_PATH] = lambda _: empty
    assert 0 == make_source().bars(SESSIONS, SYMBOLS).height


def test_defective_rows_arrive_as_they_are(make_source: Sources, server: AlpacaServer) -> None:
    """Missing prices and a bar given twice are for the gate to judge."""
    bar = {"t": "2024-07-09T04:00:00Z", "o": 1, "h": 1.5, "l": 1.0, "v": 3}
    server.routes["GET", BARS_PATH] = lambda _: {"bars": {"AAPL": [bar, bar]}}
    bars = make_source().bars(SESSIONS, SYMBOLS)
    assert [None, None] == bars["close"].to_list()


def test_a_bar_of_a_closed_day_is_given_with_the_session_after_it(make_source: Sources, server: AlpacaServer) -> None:
    """Independence Day: dropped by nobody, and told by its end from the bar of the fifth."""
    days = [f"2024-07-{day:02}T04:00:00Z" for day in (3, 4, 5)]
    bars = [{"t": day, "o": 1, "h": 1, "l": 1, "c": 1, "v": 3} for day in days]
    server.routes["GET", BARS_PATH] = lambda _: {"bars": {"AAPL": bars}}
    rows = make_source().bars(xnys().between(date(2024, 7, 3), date(2024, 7, 5)), ["AAPL"])

    ends = [datetime(2024, 7, day, hour, tzinfo=UTC) for day, hour in ((3, 17), (4, 20), (5, 20))]
    assert [(date(2024, 7, 3), ends[0]), (date(2024, 7, 5), ends[1]), (date(2024, 7, 5), ends[2])] == sorted(
        rows.select("session", "ended_at").rows()
    )


@pytest.mark.parametrize(
    ("day", "hour"), [(date(2024, 1, 8), 5), (date(2024, 3, 8), 5), (date(2024, 3, 11), 4), (date(2024, 11, 4), 5)]
)
def test_midnight_follows_daylight_saving(
    day: date, hour: int, make_source: Sources, server: AlpacaServer, waits: Waits, daily: pl.DataFrame
) -> None:
    """The stamp is 04:00 or 05:00 UTC; both are midnight in New York on their days."""
    waits.instant = datetime(2025, 1, 1, tzinfo=UTC)
    stamp = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    frame = daily.head(1).with_columns(timestamp=pl.lit(stamp).cast(pl.Datetime("us", "UTC")))
    server.routes.update(bar_routes({"1Day": frame}, now=waits.now))
    assert [day] == make_source().bars([day], SYMBOLS)["session"].to_list()


def test_minutes_end_where_the_subscription_does(
    make_source: Sources, server: AlpacaServer, waits: Waits, tmp_path: Path
) -> None:
    """Of a session under way, consolidated minutes are asked for up to 15 minutes ago: the newest would be refused."""
    waits.instant = datetime(2024, 7, 9, 15, 0, 30, tzinfo=UTC)
    stamps = [datetime(2024, 7, 9, 13, 30, tzinfo=UTC) + timedelta(minutes=at) for at in range(120)]
    minutes = pl.DataFrame({"timestamp": stamps}, schema={"timestamp": pl.Datetime("us", "UTC")}).with_columns(
        symbol=pl.lit("AAPL"), open=1.0, high=1.0, low=1.0, close=1.0, volume=5, vwap=1.0
    )
    server.routes.update(bar_routes({"1Min": minutes}, now=waits.now, short_pages=50))
    rows = make_source().minutes(date(2024, 7, 9), ["AAPL"])
    assert datetime(2024, 7, 9, 14, 45, tzinfo=UTC) == rows["timestamp"].max()
    assert 76 == rows.height
    assert [] == list(tmp_path.rglob("*.parquet"))


def test_minutes_of_a_day_that_has_not_begun_are_none(make_source: Sources, server: AlpacaServer, waits: Waits) -> None:
    """Nothing is asked for."""
    waits.instant = datetime(2024, 7, 9, 3, 50, tzinfo=UTC)
    assert 0 == make_source().minutes(date(2024, 7, 9), ["AAPL"]).height
    assert [] == server.journal


def test_thousands_of_symbols_are_asked_for_in_urls_a_server_takes(make_source: Sources, server: AlpacaServer) -> None:
    """Three thousand symbols are eight requests, each symbol in one of them, none longer than four kilobytes."""
    symbols = [f"SY{number}" for number in range(3000)]
    make_source().bars([SESSIONS[-1]], symbols)
    named = [query["symbols"] for _, _, query in server.journal]
    assert sorted(symbols) == sorted(",".join(named).split(","))
    assert 8 == len(named)
    assert max(map(len, named)) < 4096


def test_no_request_spans_a_day_on_which_symbols_change(make_source: Sources, server: AlpacaServer) -> None:
    """Alpaca would label the bars before it with a name that nobody traded under then."""
    source = make_source().cut_at([date(2024, 7, 1), date(2024, 7, 6)])
    rows = source.bars(SESSIONS, SYMBOLS)

    assert make_source().bars(SESSIONS, SYMBOLS).equals(rows)
    spans = {(query["start"][:10], query["asof"]) for _, path, query in server.journal if path == BARS_PATH}
    assert {
        ("2024-06-25", "2024-06-28"),
        ("2024-07-01", "2024-07-05"),
        ("2024-07-08", "2024-07-09"),
        ("2024-06-25", "2024-07-09"),
    } == spans
