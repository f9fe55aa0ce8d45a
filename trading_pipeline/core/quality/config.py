"""The thresholds of the quality gate, each with what it trades off; `docs/quality.md` has the measurements."""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """What counts as a defect. The defaults are measured on real panels.

    Attributes:
        outlier_threshold: largest change against the last good close (fraction) that passes unexplained; equal passes.
        gap_threshold: an overnight change of the price level, seen in open and close (fraction), that needs the
            volume of news. Lower finds smaller spin-offs and misdated bars; from about 0.15 on it also holds real
            news back.
        gap_score: and that is so large in multiples of the usual gap of symbol and session. Real changes of the price
            basis measured 29 and more, the worst days of 2008 and 2020 at most 20.
        news_volume: volume, in shares and in dollars, relative to the mean of the sessions before, that explains a gap.
        jump_volume: the same for a change past `outlier_threshold` or of the size of a split, unless the symbol has
            been that nervous. Lower keeps more real jumps
            at once and lets more spin-offs through.
        split_tolerance: distance (log) from a split ratio within which a change is called an unadjusted split.
        confirming_bars: later bars at the new level that confirm a jump made within a session, and that make a level
            the reference when the bars before it are fewer.
        patience: sessions for which the bars at an unexplained level wait for an action or an acceptance; then the
            level is taken as it is. As long as the longest look-back of the features, so that none of them spans the
            jump. A
            scale error waits for ever.
        spike_score: a bar that jumps overnight and comes back overnight, in multiples of the usual move of symbol and
            market.
        crowd_score: the same in a session in which many symbols do so.
        crowd_symbols: how many symbols make a crowd, at least; and
        crowd_share: the share of the session's symbols they must be.
        spike_minimum: smallest move (log) that counts as one at all.
        repeat_volume: largest difference of volume (log) between two bars of equal prices that are one bar.
        volume_factor: factor above the usual volume, at an ordinary price, that means other units; below it half of
            it is enough, as news and index changes only raise volume.
        vendor_tolerance: largest difference (fraction) between the closes of two vendors.
        hole_share: share of the expected symbols without a usable row that makes a session a vendor hole.
        gone_after: sessions without a row after which a symbol is no longer expected.
        reach: sessions over which a rule looks back, and forward when later bars are there.
    """

    outlier_threshold: float = 0.5
    gap_threshold: float = 0.18
    gap_score: float = 25.0
    news_volume: float = 2.5
    jump_volume: float = 4.0
    split_tolerance: float = 0.05
    confirming_bars: int = 3
    patience: int = 60
    spike_score: float = 5.0
    crowd_score: float = 3.0
    crowd_symbols: int = 5
    crowd_share: float = 0.01
    spike_minimum: float = 0.01
    repeat_volume: float = 0.1
    volume_factor: float = 60.0
    vendor_tolerance: float = 0.005
    hole_share: float = 0.5
    gone_after: int = 5
    reach: int = 70

    def __post_init__(self) -> None:
        """Refuse thresholds that judge nothing; raises ValueError."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name} must be a positive number, not {value}")
