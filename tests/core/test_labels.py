"""Labels: which return they are, and when they are known."""

import json
from datetime import date
from importlib.resources import files

import polars as pl
import pytest

from trading_pipeline.core.features.parser import parse
from trading_pipeline.core.labels import LABEL_HORIZON, LabelKind, compute_labels

DAYS = [date(2024, 7, day) for day in (1, 2, 3, 5, 8)]


def _bars(symbol: str = "A", days: list[date] = DAYS) -> pl.DataFrame:
    opens = [10.0 + 2 * DAYS.index(day) for day in days]
    return pl.DataFrame({"session": days, "symbol": symbol, "open": opens, "close": [price + 1 for price in opens]})


@pytest.mark.parametrize(
    ("kind", "label"), [(LabelKind.OPEN_TO_OPEN, 14 / 12 - 1), (LabelKind.CLOSE_TO_CLOSE, 15 / 13 - 1)]
)
def test_label_is_the_return_from_the_next_session_to_the_one_after(kind: LabelKind, label: float) -> None:
    """The price of the session itself plays no part: it cannot be traded at any more."""
    labels = compute_labels(_bars(), calendar=DAYS, kind=kind)
    assert (DAYS[0], "A", pytest.approx(label), DAYS[2]) == labels.row(0)


def test_label_is_unknown_until_two_sessions_have_passed() -> None:
    """The last sessions have no label, and beyond the calendar no day on which it will be known."""
    labels = compute_labels(_bars(), calendar=DAYS)
    assert [False, False, False, True, True] == labels["label"].is_null().to_list()
    assert [*DAYS[LABEL_HORIZON:], None, None] == labels["known_at"].to_list()


def test_a_suspension_leaves_the_labels_that_need_it_unknown() -> None:
    """No return is measured across a session without a bar."""
    labels = compute_labels(_bars(days=[DAYS[0], DAYS[1], DAYS[2], DAYS[4]]), calendar=DAYS)
    assert [DAYS[0]] == labels.filter(pl.col("label").is_not_null())["session"].to_list()


def test_labels_of_earlier_sessions_do_not_change_as_bars_arrive() -> None:
    """Once known, a label stays."""
    whole = compute_labels(_bars(), calendar=DAYS).drop_nulls("label")
    for bars in range(3, 6):
        known = compute_labels(_bars(days=DAYS[:bars]), calendar=DAYS[:bars]).drop_nulls("label")
        assert known.equals(whole.head(known.height))


def test_close_to_close_is_the_label_of_alpha158() -> None:
    """The committed definitions of pyqlib name the same return."""
    data = json.loads(files("trading_pipeline.core.features").joinpath("alpha158.json").read_text(encoding="utf-8"))
    assert parse(data["label"][0][1]) == parse(LabelKind.CLOSE_TO_CLOSE.expression)
