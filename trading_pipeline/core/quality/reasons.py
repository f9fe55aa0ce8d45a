"""Why a row is kept out of the bars; the values are stored, so they are never renamed."""

from enum import StrEnum


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
    OUTLIER = "outlier"
