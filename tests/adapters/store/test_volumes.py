"""Average volumes: twenty sessions, in the shares of the last of them, never more than was traded."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.volumes import average_volumes
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA, ActionKind
from trading_pipeline.core.sessions import xnys

LAST = date(2023, 9, 1)
SESSIONS = xnys().between(xnys().shift(LAST, -29), LAST)


def _lake(root: Path, volumes: dict[str, list[int]]) -> Lake:
    """Write bars: each symbol's volumes, the last of them in the last session."""
    lake = Lake(root)
    for at, session in enumerate(reversed(SESSIONS)):
        rows = [
            {"session": session, "symbol": symbol, "close": 100.0, "volume": float(given[-1 - at])}
            for symbol, given in volumes.items()
            if at < len(given)
        ]
        schema = {"session": pl.Date, "symbol": pl.String, "close": pl.Float64, "volume": pl.Float64}
        lake.write(Dataset.BARS, pl.DataFrame(rows, schema=schema), sessions=[session])
    return lake


def _split(symbol: str, kind: ActionKind, ratio: float) -> dict[str, object]:
    nothing = dict.fromkeys(ACTION_SCHEMA)
    known_at = datetime(2023, 8, 1, tzinfo=UTC)
    split = {"action_id": symbol, "symbol": symbol, "ex_date": SESSIONS[20], "kind": kind.value, "ratio": ratio}
    return nothing | split | {"source": "test", "known_at": known_at}


def test_the_mean_is_of_the_last_twenty_sessions(tmp_path: Path) -> None:
    """What was traded before them does not count, and neither do other symbols."""
    lake = _lake(tmp_path, {"AAPL": [10**9] * 10 + [100] * 19 + [2_100], "MSFT": [7] * 30})
    assert {"AAPL": 200} == average_volumes(lake, LAST, ["AAPL"])
    assert {"AAPL": (10**9 + 19 * 100) // 20} == average_volumes(lake, SESSIONS[-2], ["AAPL"])


def test_a_session_without_a_bar_counts_as_nothing_traded(tmp_path: Path) -> None:
    """A symbol listed a week ago has less volume than it seems to, never more."""
    lake = _lake(tmp_path, {"AAPL": [100] * 30, "NEW": [400] * 5})
    assert {"AAPL": 100, "NEW": 100} == average_volumes(lake, LAST, ["AAPL", "NEW", "UNKNOWN"])


def test_volumes_before_a_split_are_counted_in_new_shares(tmp_path: Path) -> None:
    """After ten for one, a million old shares are ten million; after one for ten, a hundred thousand."""
    lake = _lake(tmp_path, {"UP": [100] * 20 + [1_000] * 10, "DOWN": [1_000] * 20 + [100] * 10, "SAME": [5] * 30})
    splits = [_split("UP", ActionKind.SPLIT, 10), _split("DOWN", ActionKind.REVERSE_SPLIT, 0.1)]
    record_actions(lake, pl.DataFrame(splits, schema=ACTION_SCHEMA))
    assert {"UP": 1_000, "DOWN": 100, "SAME": 5} == average_volumes(lake, LAST, ["UP", "DOWN", "SAME"])


def test_a_lake_without_bars_knows_no_volume(tmp_path: Path) -> None:
    """Unknown is not zero: the guard says so."""
    assert {} == average_volumes(Lake(tmp_path), LAST, ["AAPL"])
