"""All settings, read once from the environment (and `.env`) by the composition roots."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from trading_pipeline.core.portfolio import PortfolioConfig
from trading_pipeline.core.pricing import PriceRules
from trading_pipeline.core.risk.limits import LIMIT_NAMES, OFF, RiskLimits
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.core.submission_window import SubmissionWindow
from trading_pipeline.errors import ConfigError

PAPER_URL = "https://paper-api.alpaca.markets"
LIVE_URL = "https://api.alpaca.markets"
SIMULATED = "simulated"
_PAPER_KEY = "PK"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SAMPLE_UNIVERSE = ("AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA")


def _or_off(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == OFF else value


class Settings(BaseSettings):
    """The configuration of one deployment. Field names in capitals are the variables' names."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    environment: Literal["development", "production"] = "development"
    dry_run: bool = True
    pipeline_home: Path = Path(".pipeline")
    lake_url: str | None = None
    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str = "trading_pipeline"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    market_data: Literal["sample", "alpaca"] = "sample"
    alpaca_api_key_id: SecretStr | None = None
    alpaca_api_secret_key: SecretStr | None = None
    alpaca_base_url: str = PAPER_URL
    alpaca_stream_url: str = ""
    alpaca_account_id: str = ""
    alpaca_data_url: str = "https://data.alpaca.markets"
    alpaca_data_feed: Literal["sip", "iex"] = "sip"
    alpaca_data_stream_url: str = ""
    alpaca_stream_symbols: int = Field(default=30, ge=1)
    quote_symbols: Annotated[tuple[str, ...], NoDecode] = ()
    price_max_age_seconds: int = Field(default=30, ge=1)
    price_max_spread_bps: int = Field(default=200, ge=0, lt=10_000)
    alpaca_requests_per_minute: int = Field(default=200, ge=1)

    universe: Annotated[tuple[str, ...], NoDecode] = SAMPLE_UNIVERSE
    universe_file: Path | None = None
    """Where UNIVERSE names a file; `universe` is empty then."""
    strategy_id: str = "alpha_baseline"
    account: str = Field(default=SIMULATED, pattern=r"^[^\s{}]+$")
    submission_opens_minutes: int = Field(default=360, ge=1)
    submission_ends_minutes: int = Field(default=5, ge=2)
    capital: Decimal = Field(default=Decimal(100_000), gt=0)
    long_count: int = Field(default=2, ge=0)
    short_count: int = Field(default=1, ge=0)

    feature_set: str = "alpha158"

    outlier_threshold: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    gap_threshold: float = Field(default=0.18, gt=0, allow_inf_nan=False)
    news_volume: float = Field(default=2.5, gt=0, allow_inf_nan=False)
    spike_score: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    reference_vendor: str = ""
    vendor_tolerance: float = Field(default=0.005, gt=0, allow_inf_nan=False)
    data_freshness_minutes: int = Field(default=30, ge=0)
    min_fresh_pct: float = Field(default=90.0, ge=0, le=100, allow_inf_nan=False)

    max_position_size: int = Field(default=5_000, ge=0)
    risk_max_order_shares: int = Field(default=5_000, ge=0)
    risk_max_order_notional: Decimal = Field(default=Decimal(100_000), ge=0)
    risk_price_collar_bps: int = Field(default=1_000, ge=0)
    risk_max_reference_age_seconds: int = Field(default=1_800, ge=0)
    risk_max_order_adv_bps: Annotated[int | None, BeforeValidator(_or_off)] = 500
    risk_max_position_notional: Decimal = Field(default=Decimal(250_000), ge=0)
    risk_max_position_equity_bps: Annotated[int | None, BeforeValidator(_or_off)] = 5_000
    risk_max_gross_notional: Decimal = Field(default=Decimal(1_000_000), ge=0)
    risk_max_long_notional: Decimal = Field(default=Decimal(1_000_000), ge=0)
    risk_max_short_notional: Decimal = Field(default=Decimal(500_000), ge=0)
    risk_max_net_notional: Decimal = Field(default=Decimal(1_000_000), ge=0)
    risk_max_orders_per_session: int = Field(default=500, ge=0)
    risk_max_notional_per_session: Decimal = Field(default=Decimal(2_000_000), ge=0)
    risk_max_orders_per_second: int = Field(default=50, ge=0)
    risk_max_orders_per_minute: int = Field(default=500, ge=0)
    risk_duplicate_window_seconds: int = Field(default=60, ge=0)
    risk_max_self_match_shares: int = Field(default=0, ge=0)
    risk_quiet_period_seconds: int = Field(default=300, ge=0)

    risk_max_daily_loss_dollars: Decimal = Field(default=Decimal(50_000), ge=0)
    risk_max_daily_loss_pct: Decimal = Field(default=Decimal(5), ge=0)
    risk_max_drawdown_pct: Decimal = Field(default=Decimal(20), ge=0)
    risk_max_consecutive_broker_errors: int = Field(default=5, ge=0)
    risk_max_reject_rate_pct: Decimal = Field(default=Decimal(50), ge=0)
    risk_reject_rate_window_minutes: int = Field(default=60, ge=1)
    risk_reject_rate_min_orders: int = Field(default=10, ge=1)
    risk_max_mark_age_minutes: int = Field(default=390, ge=0)
    risk_max_sessions_without_freshness: int = Field(default=1, ge=0)
    risk_max_unconfirmed_order_seconds: int = Field(default=300, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _file_of_the_universe(cls, values: dict[str, Any]) -> dict[str, Any]:
        named = values.get("universe")
        if isinstance(named, str) and named.strip().lower().endswith((".csv", ".parquet")):
            return values | {"universe": (), "universe_file": Path(named.strip()).absolute()}
        return values

    @field_validator("universe", "quote_symbols", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(symbol.strip().upper() for symbol in value.split(",") if symbol.strip())
        return value

    @field_validator("universe")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            msg = "UNIVERSE must list each symbol once"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _some_universe(self) -> Self:
        if not self.universe and self.universe_file is None:
            msg = "UNIVERSE must list at least one symbol, or name a .csv or .parquet file"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _some_window(self) -> Self:
        if self.submission_opens_minutes <= self.submission_ends_minutes:
            msg = "SUBMISSION_OPENS_MINUTES must be more than SUBMISSION_ENDS_MINUTES: both count back from the open"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _keys_of_the_vendor(self) -> Self:
        keys = {
            "ALPACA_API_KEY_ID": self.alpaca_api_key_id,
            "ALPACA_API_SECRET_KEY": self.alpaca_api_secret_key,
        }
        missing = [name for name, key in keys.items() if key is None or not key.get_secret_value()]
        if self.market_data == "alpaca" and missing:
            msg = f"MARKET_DATA=alpaca needs {' and '.join(missing)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_whole_account(self) -> Self:
        if self.dry_run:
            return self
        needed: dict[str, object] = {
            "ALPACA_API_KEY_ID": self.vendor_environment.get("ALPACA_API_KEY_ID"),
            "ALPACA_API_SECRET_KEY": self.vendor_environment.get("ALPACA_API_SECRET_KEY"),
            "ALPACA_ACCOUNT_ID": self.alpaca_account_id,
        }
        if self.live:
            needed |= {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        problems = [f"{name} is missing" for name, value in needed.items() if not value]
        if self.account == SIMULATED:
            problems.append("ACCOUNT must name the account, and not be the one of the simulated exchange")
        problems += self._url_problems()
        if self.live and self.environment != "production":
            problems.append(
                f"{self.alpaca_base_url} with this key trades real money: that needs ENVIRONMENT=production"
            )
        if problems:
            msg = "DRY_RUN=false sends orders to Alpaca: " + "; ".join(problems)
            raise ValueError(msg)
        return self

    def _url_problems(self) -> list[str]:
        url, paper_key = urlsplit(self.alpaca_base_url), self._has_paper_key
        problems = []
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            problems.append("ALPACA_BASE_URL must begin with https://")
        stream = urlsplit(self.stream_url)
        if stream.scheme != "wss" and not (stream.scheme == "ws" and stream.hostname in _LOOPBACK):
            problems.append("ALPACA_STREAM_URL must begin with wss://")
        if url.hostname == urlsplit(LIVE_URL).hostname and paper_key:
            problems.append("ALPACA_API_KEY_ID is a paper key, and ALPACA_BASE_URL the live one")
        if url.hostname == urlsplit(PAPER_URL).hostname and not paper_key:
            problems.append("ALPACA_BASE_URL is the paper one, and ALPACA_API_KEY_ID no paper key")
        return problems

    @property
    def _has_paper_key(self) -> bool:
        return self.vendor_environment.get("ALPACA_API_KEY_ID", "").startswith(_PAPER_KEY)

    @property
    def live(self) -> bool:
        """True when orders are sent and are not certain to be a paper account's."""
        hosts = {urlsplit(self.alpaca_base_url).hostname, urlsplit(LIVE_URL).hostname}
        return not self.dry_run and (len(hosts) == 1 or not self._has_paper_key)

    @property
    def stream_url(self) -> str:
        """Where the account's events are streamed: ALPACA_STREAM_URL, or the place beside the trading API."""
        beside = urlsplit(self.alpaca_base_url)
        scheme = {"https": "wss", "http": "ws"}.get(beside.scheme, beside.scheme)
        return self.alpaca_stream_url or beside._replace(scheme=scheme, path="/stream").geturl()

    @property
    def data_stream_url(self) -> str:
        """Where quotes are streamed: ALPACA_DATA_STREAM_URL, or Alpaca's stream of the feed."""
        return self.alpaca_data_stream_url or f"wss://stream.data.alpaca.markets/v2/{self.alpaca_data_feed}"

    @property
    def price_rules(self) -> PriceRules:
        """What makes a quote or a trade fit for an order."""
        return PriceRules(
            max_age=timedelta(seconds=self.price_max_age_seconds), max_spread_bps=self.price_max_spread_bps
        )

    @property
    def submission_window(self) -> SubmissionWindow:
        """When a session's orders may be sent to a broker of real time."""
        return SubmissionWindow(
            opens_before=timedelta(minutes=self.submission_opens_minutes),
            ends_before=timedelta(minutes=self.submission_ends_minutes),
        )

    @property
    def alpaca_staging(self) -> Path:
        """Folder of the pages of retrievals under way."""
        return self.pipeline_home.absolute() / "staging" / "alpaca"

    @property
    def vendor_environment(self) -> dict[str, str]:
        """What a run reads of the vendor's keys from its environment; empty when no key is set."""
        keys = {
            "ALPACA_API_KEY_ID": self.alpaca_api_key_id,
            "ALPACA_API_SECRET_KEY": self.alpaca_api_secret_key,
        }
        return {name: key.get_secret_value() for name, key in keys.items() if key is not None}

    @property
    def lake_root(self) -> Path | str:
        """Folder of the Parquet lake, or its URL."""
        return self.lake_url or self.pipeline_home.absolute() / "lake"

    @property
    def shard_root(self) -> Path:
        """Folder of what sharded computations have not merged yet."""
        return self.pipeline_home.absolute() / "shards"

    @property
    def artifact_root(self) -> Path:
        """Folder of the model artifacts."""
        return self.pipeline_home.absolute() / "models"

    @property
    def limits(self) -> RiskLimits:
        """The limits a newly initialised risk book gets."""
        own = {name: getattr(self, f"risk_{name}") for name in LIMIT_NAMES if name != "max_position_shares"}
        return RiskLimits(max_position_shares=self.max_position_size, monitor=self.monitor_limits, **own)

    @property
    def monitor_limits(self) -> MonitorLimits:
        """When the breaker of a newly initialised risk book trips by itself."""
        return MonitorLimits(
            max_daily_loss_dollars=self.risk_max_daily_loss_dollars,
            max_daily_loss_pct=self.risk_max_daily_loss_pct,
            max_drawdown_pct=self.risk_max_drawdown_pct,
            max_consecutive_broker_errors=self.risk_max_consecutive_broker_errors,
            max_reject_rate_pct=self.risk_max_reject_rate_pct,
            reject_rate_window_minutes=self.risk_reject_rate_window_minutes,
            reject_rate_min_orders=self.risk_reject_rate_min_orders,
            max_mark_age_minutes=self.risk_max_mark_age_minutes,
            max_sessions_without_freshness=self.risk_max_sessions_without_freshness,
            max_unconfirmed_order_seconds=self.risk_max_unconfirmed_order_seconds,
        )

    @property
    def portfolio(self) -> PortfolioConfig:
        """How target portfolios are built."""
        return PortfolioConfig(
            capital=self.capital,
            long_count=self.long_count,
            short_count=self.short_count,
            max_position_shares=self.max_position_size,
            max_position_notional=self.risk_max_position_notional,
        )


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        ConfigError: lists every variable that is missing or wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}" for problem in error.errors()
        ]
        raise ConfigError("the configuration is wrong:\n  " + "\n  ".join(problems), problems=problems) from None
