"""Database URLs in the dialects of the libraries, and the schemas that keep their tables apart in one database."""

from urllib.parse import urlsplit

DAGSTER_SCHEMA = "dagster"
MLFLOW_SCHEMA = "mlflow"


def sqlalchemy_url(database_url: str, schema: str) -> str:
    """Return the URL for SQLAlchemy 2.1 with psycopg2 and a search path, from a plain PostgreSQL URL."""
    parts = urlsplit(database_url)
    options = f"options=-csearch_path%3D{schema}"
    query = f"{parts.query}&{options}" if parts.query else options
    return parts._replace(scheme="postgresql+psycopg2", query=query).geturl()
