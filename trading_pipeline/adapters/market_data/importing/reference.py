"""Bars of a second vendor, imported to be compared with; nothing trades on them."""

from trading_pipeline.errors import ConfigError

_PREFIX = "reference:"


def reference_source(vendor: str) -> str:
    """Return what the rows of a second vendor have as their source.

    Raises:
        ConfigError: the vendor has no name.
    """
    name = vendor.strip().lower()
    if not name or not name.isprintable():
        raise ConfigError("a second vendor needs a name, such as `stooq`", vendor=vendor)
    return f"{_PREFIX}{name}"
