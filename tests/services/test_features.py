"""The features of a lake: computed where bars, set or code changed, left alone elsewhere, the same bytes either way."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from core.features.panels import FIELDS
from polars.testing import assert_frame_equal

from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.features import CompiledFeatures, compile_features, inputs
from trading_pipeline.core.features.sets import feature_set_of
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.feature_versions import FeatureVersions
from trading_pipeline.services.features import FeatureStore, FeatureWork, feature_store, require_features_of

SESSIONS = xnys().between(date(2023, 1, 3), date(2023, 3, 31))
SYMBOLS = ("AAA", "BBB", "LATE")
LISTED = SESSIONS[30]
SET = feature_set_of("small", [("MEAN", "Mean($close,5)"), ("WMA", "WMA($close,4)"), ("RET", "$close/Ref($close,1)-1")])
KEY = ["session", "symbol"]


def bars_of(session: date, **close: float) -> pl.DataFrame:
    """Bars of one session; AAA is suspended on some of them, LATE is listed late."""
    at = SESSIONS.index(session)
    rows = [
        {"session": session, "symbol": symbol} | dict.fromkeys(FIELDS, close.get(symbol, 10.0 + (at * 7 + place) % 11))
        for place, symbol in enumerate(SYMBOLS)
        if not (symbol == "LATE" and session < LISTED) and not (symbol == "AAA" and at % 9 in (3, 4))
    ]
    return pl.DataFrame(rows)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with bars."""
    made = Lake(tmp_path)
    made.write(Dataset.BARS, pl.concat(map(bars_of, SESSIONS)), sessions=SESSIONS)
    return made


def all_fresh(lake: Lake, sessions: list[date]) -> pl.DataFrame:
    """Call every bar fresh."""
    bars = lake.read(Dataset.BARS, start=sessions[0], end=sessions[-1], columns=KEY)
    return bars.with_columns(pl.lit("fresh").alias("state"))


@pytest.fixture
def store(lake: Lake) -> FeatureStore:
    """The features of the small set."""
    return feature_store(lake, compile_features(SET))


def update(store: FeatureStore, sessions: list[date]) -> tuple[int, int, int]:
    """Bring sessions up to date; say how many rows were computed and reused, and how many sessions written."""
    done = store.update(sessions, all_fresh(store.lake, sessions))
    return done.computed, done.reused, done.sessions_changed


def content(lake: Lake) -> pl.DataFrame:
    """Return all features."""
    return lake.read(Dataset.FEATURES, start=SESSIONS[0], end=SESSIONS[-1])


def restate(lake: Lake, session: date, **close: float) -> None:
    """Replace the bars of one session."""
    lake.write(Dataset.BARS, bars_of(session, **close), sessions=[session])


def no_computing(_: CompiledFeatures, *args: object, **kwargs: object) -> pl.DataFrame:
    """Stand in for a computation that must not happen."""
    raise AssertionError((args, kwargs))


def watch_reads(monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """Return the datasets that are read from now on, as they are read."""
    read: list[Dataset] = []
    original = Lake._gather

    def recorded(lake: Lake, dataset: Dataset, *arguments: object) -> pl.DataFrame:
        read.append(dataset)
        return original(lake, dataset, *arguments)

    monkeypatch.setattr(Lake, "_gather", recorded)
    return read


def test_of_an_unchanged_range_nothing_is_read_or_written(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lake names its files by their content: it is enough to compare which ones there are."""
    rows = update(store, SESSIONS)[0]
    assert content(store.lake).height == rows
    manifest = all_fresh(store.lake, SESSIONS)
    monkeypatch.setattr(CompiledFeatures, "compute", no_computing)
    monkeypatch.setattr(Lake, "write", no_computing)
    read = watch_reads(monkeypatch)
    done = store.update(SESSIONS, manifest)
    assert (0, rows, 0) == (done.computed, done.reused, done.sessions_changed)
    assert {Dataset.FEATURE_VERSIONS} == set(read)


def test_bars_in_other_files_are_compared_and_not_computed_with(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restatement that was taken back; then the new files are known too."""
    rows = update(store, SESSIONS)[0]
    restate(store.lake, SESSIONS[20], BBB=99.0)
    restate(store.lake, SESSIONS[20])
    monkeypatch.setattr(CompiledFeatures, "compute", no_computing)
    read = watch_reads(monkeypatch)
    assert (0, rows, 0) == update(store, SESSIONS)
    assert Dataset.BARS in read
    assert Dataset.FEATURES not in read
    manifest = all_fresh(store.lake, SESSIONS)
    read.clear()
    store.update(SESSIONS, manifest)
    assert {Dataset.FEATURE_VERSIONS} == set(read)


def test_a_new_session_leaves_those_before_it_alone(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars of later sessions are nothing to a feature that does not look ahead."""
    store.lake.write(Dataset.BARS, bars_of(SESSIONS[-1]).clear(), sessions=[SESSIONS[-1]])
    update(store, SESSIONS[:-1])
    restate(store.lake, SESSIONS[-1])
    manifest = all_fresh(store.lake, SESSIONS)
    planned: list[date] = []
    original = FeatureStore.plan

    def recorded(store: FeatureStore, sessions: list[date], *arguments: object) -> FeatureWork:
        planned.extend(sessions)
        return original(store, sessions, *arguments)

    monkeypatch.setattr(FeatureStore, "plan", recorded)
    store.update(SESSIONS, manifest)
    assert [SESSIONS[-1]] == planned


def test_an_action_that_becomes_known_is_noticed(store: FeatureStore) -> None:
    """No bar has changed, but what the bars are adjusted for."""
    update(store, SESSIONS)
    rename(store.lake, SESSIONS[40], "BBB", "GONE")
    assert update(store, SESSIONS)[0] > 0


def test_other_libraries_are_noticed(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bar and no line of ours has changed, but what computes with them."""
    rows = update(store, SESSIONS)[0]
    monkeypatch.setattr(inputs, "version", lambda name: f"{name} of tomorrow")
    inputs.computing_code.cache_clear()
    try:
        assert (rows, 0) == update(store, SESSIONS)[:2]
        assert (0, rows) == update(store, SESSIONS)[:2]
    finally:
        inputs.computing_code.cache_clear()


def test_another_run_in_between_is_not_taken_for_ours(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces features between our writing them and our noting what they were made of."""
    other = feature_store(store.lake, compile_features(feature_set_of("other", [("MEAN", "Mean($close,6)")])))
    manifest = all_fresh(store.lake, SESSIONS)
    original = FeatureVersions.record

    def late(versions: FeatureVersions, *arguments: object) -> None:
        with monkeypatch.context() as inner:
            inner.setattr(FeatureVersions, "record", original)
            other.update(SESSIONS, manifest)
        original(versions, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(FeatureVersions, "record", late)
        store.update(SESSIONS, manifest)
    assert ["session", "symbol", "MEAN"] == content(store.lake).columns
    assert manifest.height == store.update(SESSIONS, manifest).computed
    assert ["session", "symbol", *SET.names] == content(store.lake).columns


def test_sessions_one_by_one_give_the_content_of_the_whole_range(store: FeatureStore, tmp_path: Path) -> None:
    """From the look-back alone, suspended and late symbols included."""
    update(store, SESSIONS)
    other = Lake(tmp_path / "other")
    other.write(Dataset.BARS, pl.concat(map(bars_of, SESSIONS)), sessions=SESSIONS)
    single = feature_store(other, compile_features(SET))
    for session in SESSIONS[25:45]:
        update(single, [session])
    assert content(store.lake).filter(pl.col("session").is_between(SESSIONS[25], SESSIONS[44])).equals(content(other))


def test_a_restated_bar_computes_the_rows_it_reaches_and_no_other(store: FeatureStore, tmp_path: Path) -> None:
    """One symbol, its session and the four that look back on it; the result is that of a run from nothing."""
    update(store, SESSIONS)
    session = SESSIONS[20]
    restate(store.lake, session, BBB=99.0)
    computed, _, changed = update(store, SESSIONS)
    assert (5, 5) == (computed, changed)
    other = Lake(tmp_path / "other")
    other.write(Dataset.BARS, store.lake.read(Dataset.BARS, start=SESSIONS[0], end=SESSIONS[-1]), sessions=SESSIONS)
    update(feature_store(other, compile_features(SET)), SESSIONS)
    assert content(other).equals(content(store.lake))


def test_a_restatement_is_noticed_by_a_session_that_is_asked_for_later(store: FeatureStore) -> None:
    """Nothing is forgotten because another session was computed first."""
    update(store, SESSIONS)
    restate(store.lake, SESSIONS[20], BBB=99.0)
    assert (1, 1) == update(store, [SESSIONS[22]])[::2]
    assert (0, 0) == update(store, [SESSIONS[22]])[::2]
    assert (4, 4) == update(store, SESSIONS)[::2]


def test_an_earlier_listing_is_noticed(store: FeatureStore) -> None:
    """Windows of a symbol that turns out to have been listed before are longer."""
    update(store, SESSIONS)
    early = pl.concat(
        [bars_of(SESSIONS[10]), bars_of(SESSIONS[40]).filter(symbol="LATE").with_columns(session=SESSIONS[10])]
    )
    store.lake.write(Dataset.BARS, early, sessions=[SESSIONS[10]])
    assert (4 + 1, 4 + 1) == update(store, SESSIONS)[::2]


def test_another_set_computes_everything_and_is_told_apart(store: FeatureStore) -> None:
    """Code version and content go together."""
    rows = update(store, SESSIONS)[0]
    other = feature_set_of("other", [("MEAN", "Mean($close,6)")])
    require_features_of(store.lake, SET, SESSIONS)
    with pytest.raises(DataQualityError, match=r"62 session\(s\), 2023-01-03 to .*not as other"):
        require_features_of(store.lake, other, SESSIONS)
    changed = feature_store(store.lake, compile_features(other))
    assert (rows, 0) == update(changed, SESSIONS)[:2]
    require_features_of(store.lake, other, SESSIONS)


@pytest.mark.parametrize("survives", [1, 2])
def test_after_a_crash_in_the_middle_of_writing_nothing_half_done_is_reused(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """Even if the bars are what they were before the crash by then."""
    update(store, SESSIONS)
    before = content(store.lake)
    original = Lake.write
    left = [survives]

    def crashing(lake: Lake, *arguments: object, **named: object) -> object:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(lake, *arguments, **named)

    restate(store.lake, SESSIONS[20], BBB=99.0)
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "write", crashing)
        with pytest.raises(KeyboardInterrupt):
            update(store, SESSIONS)
    restate(store.lake, SESSIONS[20])
    update(store, SESSIONS)
    assert before.equals(content(store.lake))


def test_a_symbol_that_is_no_longer_fresh_loses_its_row(store: FeatureStore) -> None:
    """Without computing the others again."""
    update(store, SESSIONS)
    session = SESSIONS[30]
    manifest = all_fresh(store.lake, [session]).with_columns(
        pl.when(symbol="BBB").then(pl.lit("stale")).otherwise("state").alias("state")
    )
    done = store.update([session], manifest)
    assert (0, 1) == (done.computed, done.sessions_changed)
    assert "BBB" not in store.lake.read_session(Dataset.FEATURES, session)["symbol"]


def test_a_split_leaves_no_trace_in_the_features(store: FeatureStore, tmp_path: Path) -> None:
    """Prices halve when shares double; the returns across that day are those of a stock that did not split."""
    update(store, SESSIONS)
    split = Lake(tmp_path / "split")
    after = (pl.col("session") >= SESSIONS[40]) & (pl.col("symbol") == "BBB")
    bars = store.lake.read(Dataset.BARS, start=SESSIONS[0], end=SESSIONS[-1])
    halved = [pl.when(after).then(pl.col(name) / 2).otherwise(name).alias(name) for name in FIELDS if name != "volume"]
    split.write(Dataset.BARS, bars.with_columns(halved), sessions=SESSIONS)
    values = {"action_id": "1", "symbol": "BBB", "ex_date": SESSIONS[40], "kind": "split", "ratio": 2.0}
    row = dict.fromkeys(ACTION_SCHEMA) | values | {"source": "test", "known_at": datetime(2023, 1, 1, tzinfo=UTC)}
    record_actions(split, pl.DataFrame([row], schema=ACTION_SCHEMA))

    update(feature_store(split, store.compiled), SESSIONS)

    assert content(store.lake).equals(content(split))


def rename(lake: Lake, day: date, old: str, new: str) -> None:
    """Tell the lake that a symbol changed."""
    row = dict.fromkeys(ACTION_SCHEMA) | {
        "action_id": f"{old}>{new}",
        "symbol": old,
        "ex_date": day,
        "kind": "symbol_change",
        "other_symbol": new,
        "source": "test",
        "known_at": datetime(2023, 1, 2, tzinfo=UTC),
    }
    record_actions(lake, pl.DataFrame([row], schema=ACTION_SCHEMA))


def test_a_window_follows_the_company_through_its_change_of_symbol(store: FeatureStore, tmp_path: Path) -> None:
    """BBB becomes CCC: values are those of one company with one symbol, and only then another company is BBB."""
    day, eve = SESSIONS[40], SESSIONS[39]
    bars = store.lake.read(Dataset.BARS, start=SESSIONS[0], end=SESSIONS[-1])
    later = pl.col("session") >= day
    renamed = bars.with_columns(
        pl.when(later).then(pl.col("symbol").replace({"BBB": "CCC", "AAA": "BBB"})).otherwise("symbol").alias("symbol")
    )
    other = feature_store(Lake(tmp_path / "renamed"), store.compiled)
    other.lake.write(Dataset.BARS, renamed, sessions=SESSIONS)
    rename(other.lake, day, "BBB", "CCC")
    rename(other.lake, day, "AAA", "BBB")
    for one in (store, other):
        update(one, SESSIONS)

    expected = store.lake.read(Dataset.FEATURES, start=day, end=SESSIONS[-1])
    expected = expected.with_columns(pl.col("symbol").replace({"BBB": "CCC", "AAA": "BBB"})).sort(KEY)
    assert_frame_equal(expected, other.lake.read(Dataset.FEATURES, start=day, end=SESSIONS[-1]).sort(KEY))
    before = [one.lake.read(Dataset.FEATURES, start=SESSIONS[0], end=eve) for one in (store, other)]
    assert_frame_equal(*before)


def test_shards_by_symbol_hold_the_history_under_older_symbols(store: FeatureStore) -> None:
    """The shard of CCC reads the bars of BBB."""
    day = SESSIONS[40]
    bars = store.lake.read(Dataset.BARS, start=day, end=SESSIONS[-1])
    store.lake.write(Dataset.BARS, bars.with_columns(pl.col("symbol").replace({"BBB": "CCC"})), sessions=SESSIONS[40:])
    rename(store.lake, day, "BBB", "CCC")
    manifest = all_fresh(store.lake, SESSIONS[40:])
    whole = store.compute(store.plan(SESSIONS[40:], manifest)).values
    shard = store.compute(store.plan(SESSIONS[40:], manifest, ["CCC"])).values

    assert_frame_equal(whole.filter(pl.col("symbol") == "CCC"), shard)
    assert 0 == shard["RET"].null_count()


def test_a_symbol_that_is_used_again_has_no_history(store: FeatureStore) -> None:
    """The naive join would give its first day a return against another company's price."""
    day = SESSIONS[40]
    rename(store.lake, day, "BBB", "GONE")
    update(store, SESSIONS)

    values = store.lake.read(Dataset.FEATURES, start=SESSIONS[39], end=SESSIONS[41]).filter(pl.col("symbol") == "BBB")
    assert [False, True, False] == values["RET"].is_null().to_list()
