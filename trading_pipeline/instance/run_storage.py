"""Dagster's PostgreSQL run storage over a connection that stays open; `dagster.yaml` names this class.

Stock storage opens a connection for each question, and before most of them asks the catalog of PostgreSQL whether
columns exist that were added years ago. In a run of one session that is a tenth of what Dagster itself costs.
"""

from collections.abc import Mapping
from typing import Any, Self

from dagster_postgres.run_storage import PostgresRunStorage

from trading_pipeline.instance.connections import arguments_of, keep_connections


class PooledRunStorage(PostgresRunStorage):
    """Keeps its connection, and remembers which columns there are. Everything else is inherited."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._has_run_stats = False
        self._has_backfill_id = False
        super().__init__(*args, **kwargs)
        keep_connections(self)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from `dagster.yaml`."""
        return cls(**arguments_of(inst_data, config_value))

    def has_run_stats_index_cols(self) -> bool:
        """Tell whether runs have their start and end in columns; a migration may add them, none takes them away."""
        self._has_run_stats = self._has_run_stats or super().has_run_stats_index_cols()
        return self._has_run_stats

    def has_backfill_id_column(self) -> bool:
        """Tell whether runs have their backfill in a column."""
        self._has_backfill_id = self._has_backfill_id or super().has_backfill_id_column()
        return self._has_backfill_id
