"""A real PostgreSQL and a real Redis for a machine that has neither; never a second way to reach production servers."""

from trading_pipeline.embedded.binaries import postgres_folder, redis_server
from trading_pipeline.embedded.leases import embedded_servers, embedded_status, stop_embedded
from trading_pipeline.embedded.state import EmbeddedStatus, ServerUrls

__all__ = [
    "EmbeddedStatus",
    "ServerUrls",
    "embedded_servers",
    "embedded_status",
    "postgres_folder",
    "redis_server",
    "stop_embedded",
]
