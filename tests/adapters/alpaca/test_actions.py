"""Corporate actions through the real alpaca-py client: every kind, late ones, and rows that cannot be read."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, Fault

from tests.adapters.alpaca.conftest import NOW, Waits
from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.market_data.alpaca.actions import AlpacaActions
from trading_pipeline.errors import DataQualityError

PATH = "/v1/corporate-actions"
DAYS = {"process_date": "2024-06-10", "ex_date": "2024-06-10", "effective_date": "2024-06-11"}
EXAMPLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "forward_splits",
        {"symbol": "NVDA", "new_rate": 10, "old_rate": 1},
        {"symbol": "NVDA", "kind": "split", "ratio": 10.0},
    ),
    (
        "reverse_splits",
        {"symbol": "AIG", "new_rate": 1, "old_rate": 20},
        {"symbol": "AIG", "kind": "reverse_split", "ratio": 0.05},
    ),
    (
        "unit_splits",
        {"old_symbol": "U.U", "new_symbol": "U", "old_rate": 1, "new_rate": 2},
        {"symbol": "U.U", "kind": "spin_off", "distributed": 2.0, "other_symbol": "U", "ex_date": date(2024, 6, 11)},
    ),
    ("stock_dividends", {"symbol": "A", "rate": 0.05}, {"symbol": "A", "kind": "stock_dividend", "ratio": 1.05}),
    ("cash_dividends", {"symbol": "A", "rate": 0.24}, {"symbol": "A", "kind": "cash_dividend", "amount": 0.24}),
    (
        "spin_offs",
        {"source_symbol": "BAX", "new_symbol": "BXLT", "source_rate": 1, "new_rate": 1},
        {"symbol": "BAX", "kind": "spin_off", "distributed": 1.0, "other_symbol": "BXLT"},
    ),
    (
        "rights_distributions",
        {"source_symbol": "R", "new_symbol": "R.RT", "rate": 0.1},
        {"symbol": "R", "kind": "rights", "distributed": 0.1, "other_symbol": "R.RT"},
    ),
    (
        "cash_mergers",
        {"acquiree_symbol": "TWX", "rate": 53.75},
        {"symbol": "TWX", "kind": "merger", "amount": 53.75, "other_symbol": None},
    ),
    (
        "stock_mergers",
        {"acquiree_symbol": "X", "acquirer_symbol": "Y", "acquirer_rate": 1, "acquiree_rate": 2},
        {"symbol": "X", "kind": "merger", "distributed": 0.5, "other_symbol": "Y"},
    ),
    (
        "stock_and_cash_mergers",
        {"acquiree_symbol": "X", "acquirer_symbol": "Y", "acquirer_rate": 1, "acquiree_rate": 2, "cash_rate": 3.5},
        {"symbol": "X", "kind": "merger", "distributed": 0.5, "amount": 3.5},
    ),
    (
        "name_changes",
        {"old_symbol": "FB", "new_symbol": "META"},
        {"symbol": "FB", "kind": "symbol_change", "other_symbol": "META", "ratio": None},
    ),
    ("redemptions", {"symbol": "W", "rate": 10.0}, {"symbol": "W", "kind": "redemption", "amount": 10.0}),
    ("worthless_removals", {"symbol": "W"}, {"symbol": "W", "kind": "worthless", "amount": None}),
]


@pytest.fixture
def make_source(
    make_reader: Callable[..., AlpacaReader], server: AlpacaServer, waits: Waits
) -> Callable[[], AlpacaActions]:
    """Make sources that ask the local server through alpaca-py's corporate actions client."""

    def make() -> AlpacaActions:
        client = CorporateActionsClient(KEY_ID, SECRET, raw_data=True, url_override=server.url)
        return AlpacaActions(make_reader(client=client), clock=waits)

    return make


def serve(server: AlpacaServer, *pages: Mapping[str, Any]) -> None:
    """Answer with these pages of lists by kind."""

    def route(query: Mapping[str, str]) -> Any:
        number = int(query.get("page_token", "0"))
        following = str(number + 1) if number + 1 < len(pages) else None
        return {"corporate_actions": pages[number], "next_page_token": following}

    server.routes["GET", PATH] = route


@pytest.mark.parametrize(("name", "given", "expected"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_each_kind_becomes_a_row(
    name: str,
    given: dict[str, Any],
    expected: dict[str, Any],
    server: AlpacaServer,
    make_source: Callable[[], AlpacaActions],
) -> None:
    """Thirteen lists with fields of their own become one format, with the instant they were known at."""
    serve(server, {name: [{"id": "7f", **DAYS, **given}]})
    row = make_source().actions(date(2024, 6, 10), date(2024, 6, 10), ["ANY"]).row(0, named=True)
    assert expected == {field: row[field] for field in expected}
    assert ("alpaca:7f", "alpaca", NOW) == (row["action_id"], row["source"], row["known_at"])


def test_each_call_looks_back_for_what_was_added_late(
    server: AlpacaServer, make_source: Callable[[], AlpacaActions]
) -> None:
    """A month before the wanted days, and some days after them for what is announced."""
    serve(server, {})
    make_source().actions(date(2024, 6, 10), date(2024, 6, 12), ["B", "A"])
    query = server.journal[0][2]
    assert ("2024-05-11", "2024-06-22", "A,B") == (query["start"], query["end"], query["symbols"])


def test_actions_of_all_pages_arrive_once(server: AlpacaServer, make_source: Callable[[], AlpacaActions]) -> None:
    """A page that repeats an action does not double it, and a failure between pages is asked again."""
    dividend = {"id": "1", "symbol": "A", "rate": 0.5, **DAYS}
    serve(server, {"cash_dividends": [dividend]}, {"cash_dividends": [dividend, {**dividend, "id": "2"}]})
    server.plan(None, Fault(status=503))
    rows = make_source().actions(date(2024, 6, 10), date(2024, 6, 10), ["A"])
    assert ["alpaca:1", "alpaca:2"] == rows["action_id"].to_list()


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"conversions": [{}]}, "conversions"),
        ({"cash_dividends": [{"id": "1", "symbol": "A", **DAYS}]}, "rate"),
        ({"cash_dividends": [{"id": "1", "symbol": "A", "rate": 0, **DAYS}]}, "rate is 0"),
        ({"cash_dividends": [{"id": "1", "symbol": "A", "rate": float("nan"), **DAYS}]}, "rate is nan"),
        ({"cash_dividends": [{"id": "1", "symbol": None, "rate": 1, **DAYS}]}, "no id, symbol"),
        ({"forward_splits": [{"id": "1", "symbol": "A", "new_rate": 2, "old_rate": 0, **DAYS}]}, "old_rate is 0"),
        ({"cash_dividends": [{"id": "1", "symbol": "A", "rate": 1, "ex_date": "soon"}]}, "soon"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    lists: dict[str, Any], message: str, server: AlpacaServer, make_source: Callable[[], AlpacaActions]
) -> None:
    """A split without its ratio must not pass for no split."""
    serve(server, lists)
    with pytest.raises(DataQualityError, match=message):
        make_source().actions(date(2024, 6, 10), date(2024, 6, 10), ["A"])


def test_paging_that_leads_back_is_an_error(server: AlpacaServer, make_source: Callable[[], AlpacaActions]) -> None:
    """A server that gives the same token for ever is caught."""
    server.routes["GET", PATH] = lambda _: {"corporate_actions": {}, "next_page_token": "again"}
    with pytest.raises(DataQualityError, match="does not end"):
        make_source().actions(date(2024, 6, 10), date(2024, 6, 10), ["A"])
