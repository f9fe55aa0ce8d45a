"""The gate between raw bars and bars: it sorts rows, it never changes or drops one."""

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.gate import GateResult, judge_bars
from trading_pipeline.core.quality.reasons import Reason

__all__ = ["GateConfig", "GateResult", "Reason", "judge_bars"]
