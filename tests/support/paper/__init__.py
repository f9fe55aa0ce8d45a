"""A paper account traded for many sessions by real processes of the product, on a local Alpaca whose time is ours."""
