"""What every conversation with Alpaca shares: bounded transport, one mapping of errors, one budget of requests."""
