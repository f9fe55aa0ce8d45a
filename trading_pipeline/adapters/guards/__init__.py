"""The risk guard and its book in Redis."""
