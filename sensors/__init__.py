"""Sensors."""

from sensors.run_failures import run_failures

ALL_SENSORS = (run_failures,)

__all__ = ["ALL_SENSORS"]
