"""SQL as files: migrations of the ledger, DuckDB views and queries."""
