"""A local HTTP server that speaks Alpaca's API, on real bars or seeded ones, and misbehaves on demand."""
