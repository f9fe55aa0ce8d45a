"""The ledger, the lake, and the prices in it."""
