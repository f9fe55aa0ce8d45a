"""Market data to orders on Dagster, every session, behind one atomic risk check."""
