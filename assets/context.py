"""What every asset asks of its run: which sessions, and metadata the UI can show."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl

from trading_pipeline.errors import ConfigError

KNOWN_AT_TAG = "trading/known_at"
LONGEST_TABLE = 200
LONGEST_DETAILED_RANGE = 64


def sessions_of(context: dg.AssetExecutionContext) -> list[date]:
    """Return the sessions of the run in order: one, or all of a range."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def knowledge_of(context: dg.AssetExecutionContext) -> datetime | None:
    """Return the instant whose knowledge the run shall use, from its tag `trading/known_at`; None: that of now.

    Raises:
        ConfigError: the tag is no instant with a time zone.
    """
    text = context.run.tags.get(KNOWN_AT_TAG)
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.utcoffset() is None:
        raise ConfigError(f"{KNOWN_AT_TAG}={text} is no instant: write it as 2024-07-03T21:00:00+00:00", value=text)
    return instant


def table(frame: pl.DataFrame) -> dg.TableMetadataValue:
    """Show a frame as a table in the UI, at most its first 200 rows."""
    rows = frame.head(LONGEST_TABLE).rows(named=True)
    schema = dg.TableSchema(columns=[dg.TableColumn(name, type=str(dtype)) for name, dtype in frame.schema.items()])
    records = [dg.TableRecord({name: _plain(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records=records, schema=schema)


def plot(svg_data_uri: str, title: str) -> dg.MarkdownMetadataValue:
    """Show a picture in the UI."""
    return dg.MetadataValue.md(f"![{title}]({svg_data_uri})")


def report(
    context: dg.AssetExecutionContext,
    sessions: Sequence[date],
    metadata: Mapping[str, Any],
    *,
    per_session: Mapping[date, Mapping[str, Any]] | None = None,
    asset: str | None = None,
) -> None:
    """Attach what a run found to the materialisation of its last session, and numbers of their own to each session.

    Metadata returned by the asset would be copied to every session of a range: thousands of times the same tables.
    Numbers of single sessions become plots over the sessions in the UI; long ranges leave them out, as Dagster takes
    milliseconds a key.
    """
    numbers = per_session or {}
    detailed = sessions if len(sessions) <= LONGEST_DETAILED_RANGE else sessions[-1:]
    for session in detailed:
        found = dict(numbers.get(session, {})) | (dict(metadata) if session == sessions[-1] else {})
        if found:
            context.add_asset_metadata(found, asset_key=asset, partition_key=session.isoformat())


def numbers_by_session(frame: pl.DataFrame, **aggregates: pl.Expr) -> dict[date, dict[str, Any]]:
    """Aggregate a frame by its `session` column into the numbers `report` takes."""
    grouped = frame.group_by("session").agg(**aggregates)
    return {row.pop("session"): row for row in grouped.to_dicts()}


def done_before_failing(
    asset: str, numbers: Mapping[date, Mapping[str, Any]], sessions: Sequence[date]
) -> Iterator[dg.AssetMaterialization]:
    """Return what an asset yields of the sessions of a range that are done, before it fails for the others.

    Events that are logged instead are lost with the failure.
    """
    for session in sessions:
        yield dg.AssetMaterialization(asset, partition=session.isoformat(), metadata=numbers.get(session, {}))


def _plain(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
