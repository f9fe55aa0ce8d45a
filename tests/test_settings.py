"""Settings are read once, checked whole, and refused with every mistake named."""

from pathlib import Path

import pytest

from trading_pipeline.errors import ConfigError
from trading_pipeline.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    """A fresh clone needs no configuration."""
    assert ("AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA") == load_settings().universe


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one a start."""
    for name, value in {"CAPITAL": "-5", "UNIVERSE": "AAPL,AAPL", "LOG_LEVEL": "LOUD", "DRY_RUN": "perhaps"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        load_settings()
    for name in ("CAPITAL", "UNIVERSE", "LOG_LEVEL", "DRY_RUN"):
        assert name in refused.value.message


def test_a_comma_separated_universe_is_split_and_capitalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands in a .env file."""
    monkeypatch.setenv("UNIVERSE", "aapl, msft ,")
    assert ("AAPL", "MSFT") == load_settings().universe


@pytest.mark.parametrize("name", ["CAPITAL", "RISK_MAX_GROSS_NOTIONAL", "OUTLIER_THRESHOLD", "MIN_FRESH_PCT"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """NaN is no limit and infinity is no capital."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        load_settings()


@pytest.mark.parametrize("name", ["two words", "", "{tag}", " padded"])
def test_an_account_is_one_word(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is part of keys and ids everywhere; a name that some store refuses is refused before anything starts."""
    monkeypatch.setenv("ACCOUNT", name)
    with pytest.raises(ConfigError, match="ACCOUNT"):
        load_settings()


def test_the_example_file_is_valid_and_complete() -> None:
    """Every variable of `.env.example` is a setting, and it changes no default."""
    example = Path(__file__).parents[1] / ".env.example"
    names = {
        line.lstrip("# ").partition("=")[0]
        for line in example.read_text().splitlines()
        if ("=" in line and line.isupper()) or "=" in line
    }
    fields = {name.upper() for name in Settings.model_fields}
    variables = {name for name in names if name.isupper() and name.replace("_", "").isalpha()}
    assert variables <= fields
    assert Settings(_env_file=example) == Settings(_env_file=None)


@pytest.mark.parametrize("key", ["", None])
def test_a_vendor_without_its_keys_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    """An empty key is none."""
    monkeypatch.setenv("MARKET_DATA", "alpaca")
    if key is not None:
        monkeypatch.setenv("ALPACA_API_KEY_ID", key)
    with pytest.raises(ConfigError, match="ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY"):
        load_settings()


def test_keys_show_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach a run through its environment, and nobody else."""
    monkeypatch.setenv("ALPACA_API_SECRET_KEY", "hidden")
    settings = load_settings()
    assert "hidden" not in repr(settings)
    assert {"ALPACA_API_SECRET_KEY": "hidden"} == settings.vendor_environment


PAPER = {
    "DRY_RUN": "false",
    "ALPACA_API_KEY_ID": "PKTEST",
    "ALPACA_API_SECRET_KEY": "secret",
    "ALPACA_ACCOUNT_ID": "PA1",
    "ACCOUNT": "paper",
}
LIVE = PAPER | {
    "ALPACA_API_KEY_ID": "AKTEST",
    "ALPACA_BASE_URL": "https://api.alpaca.markets",
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://localhost/trading",
    "REDIS_URL": "redis://localhost",
}


def configure(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    """Read these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_a_paper_account_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paper keys on the paper URL send orders, and no real money."""
    settings = configure(monkeypatch, PAPER)
    assert (False, False) == (settings.dry_run, settings.live)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "wss://paper-api.alpaca.markets/stream"),
        ({"ALPACA_BASE_URL": "http://127.0.0.1:9"}, "ws://127.0.0.1:9/stream"),
        ({"ALPACA_STREAM_URL": "ws://localhost:9/here"}, "ws://localhost:9/here"),
        ({"ALPACA_STREAM_URL": "wss://broker.example/stream"}, "wss://broker.example/stream"),
    ],
)
def test_the_stream_is_where_it_is_said_to_be_or_beside_the_trading_api(
    variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS on this machine only."""
    assert url == configure(monkeypatch, PAPER | variables).stream_url


def test_a_window_of_submission_that_is_empty_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that ends after the auction takes no more orders."""
    with pytest.raises(ConfigError, match="SUBMISSION_OPENS_MINUTES must be more than"):
        configure(monkeypatch, PAPER | {"SUBMISSION_OPENS_MINUTES": "5"})
    with pytest.raises(ConfigError, match="SUBMISSION_ENDS_MINUTES"):
        configure(monkeypatch, PAPER | {"SUBMISSION_ENDS_MINUTES": "1"})


def test_a_live_account_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything named, in production."""
    assert configure(monkeypatch, LIVE).live


def test_a_key_that_is_no_paper_key_counts_as_live_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a server of one's own too: when in doubt it is real money."""
    assert configure(monkeypatch, LIVE | {"ALPACA_BASE_URL": "https://broker.example"}).live


def test_all_that_an_account_lacks_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, the pinned account and its name."""
    with pytest.raises(ConfigError) as refused:
        configure(monkeypatch, {"DRY_RUN": "false"})
    for name in ("ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY", "ALPACA_ACCOUNT_ID", "ACCOUNT must name"):
        assert name in refused.value.message


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (LIVE | {"ALPACA_API_KEY_ID": "PKTEST"}, "is a paper key"),
        (PAPER | {"ALPACA_API_KEY_ID": "AKTEST"}, "no paper key"),
        (LIVE | {"ENVIRONMENT": "development"}, "ENVIRONMENT=production"),
        (LIVE | {"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        (PAPER | {"ALPACA_BASE_URL": "http://paper-api.alpaca.markets"}, "https"),
        (PAPER | {"ACCOUNT": "simulated"}, "ACCOUNT must name the account"),
        (PAPER | {"ALPACA_STREAM_URL": "https://paper-api.alpaca.markets/stream"}, "ALPACA_STREAM_URL must begin"),
        (PAPER | {"ALPACA_STREAM_URL": "ws://paper-api.alpaca.markets/stream"}, "ALPACA_STREAM_URL must begin"),
        (PAPER | {"ALPACA_STREAM_URL": "paper-api.alpaca.markets"}, "ALPACA_STREAM_URL must begin"),
    ],
)
def test_an_account_whose_facts_do_not_fit_is_refused(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paper keys at the live URL, the reverse, live outside production, secrets over plain HTTP."""
    with pytest.raises(ConfigError, match=words):
        configure(monkeypatch, variables)
