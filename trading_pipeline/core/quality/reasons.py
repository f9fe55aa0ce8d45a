"""Why a row is kept out of the bars, or is absent; the values are stored, so they are never renamed."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """One rule that a quarantined row breaks."""

    MISSING_SYMBOL = "missing_symbol"
    MISSING_PRICE = "missing_price"
    NON_POSITIVE_PRICE = "non_positive_price"
    INVALID_VWAP = "invalid_vwap"
    MISSING_VOLUME = "missing_volume"
    NEGATIVE_VOLUME = "negative_volume"
    HIGH_TOO_LOW = "high_too_low"
    LOW_TOO_HIGH = "low_too_high"
    NOT_A_SESSION = "not_a_session"
    WRONG_TIME = "wrong_time"
    EXACT_DUPLICATE = "exact_duplicate"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"

    SUB_PENNY = "sub_penny"
    STALE = "stale"
    STUCK = "stuck"
    NO_TRADES = "no_trades"
    NOT_AN_EQUITY = "not_an_equity"
    SHARED_SERIES = "shared_series"
    VENDOR_CONFLICT = "vendor_conflict"
    REPEATED_BAR = "repeated_bar"
    LOOK_AHEAD = "look_ahead"
    SPIKE = "spike"
    SCALE_ERROR = "scale_error"
    UNADJUSTED_SPLIT = "unadjusted_split"
    MIXED_BASIS = "mixed_basis"
    OUTLIER = "outlier"
    AWAITING = "awaiting_explanation"
    VOLUME_UNITS = "volume_units"
    WHEN_ISSUED = "when_issued"

    MISSING = "missing"
    VENDOR_HOLE = "vendor_hole"


BROKEN: Final = frozenset(list(Reason)[: list(Reason).index(Reason.SUB_PENNY)])
"""No reading of the row makes sense: only a restatement gets it out of quarantine, never an acceptance."""

ABSENT: Final = frozenset({Reason.MISSING, Reason.VENDOR_HOLE})
"""Of a symbol-session without a row, or of a session most of which is unusable."""
