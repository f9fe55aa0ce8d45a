"""The Dagster instance of this project: where its home is, and how it stores events."""
