"""The outside world: market data, broker, guard, store, models. No Dagster."""
