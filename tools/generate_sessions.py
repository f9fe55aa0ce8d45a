"""Write the committed session data of the New York Stock Exchange; the product reads the file, never this module."""

import json
from datetime import date
from pathlib import Path

import exchange_calendars
import pandas as pd

TARGET = Path(__file__).parents[1] / "trading_pipeline" / "core" / "xnys.json"
FIRST, LAST = date(2000, 1, 1), date(2036, 12, 31)
ZONE, OPEN, CLOSE = "America/New_York", "09:30", "16:00"


def session_data() -> dict[str, object]:
    """Return closures (weekdays without a session) and irregular hours (exchange local time), as they are stored."""
    calendar = exchange_calendars.get_calendar("XNYS", start=str(FIRST), end=str(LAST))
    if calendar.schedule["break_start"].notna().any():
        message = "a session with a break cannot be stored: extend the format of xnys.json first"
        raise ValueError(message)
    local = {name: calendar.schedule[name].dt.tz_convert(ZONE).dt.strftime("%H:%M") for name in ("open", "close")}
    hours = zip(calendar.sessions, local["open"], local["close"], strict=True)
    weekdays = pd.bdate_range(str(FIRST), str(LAST))
    return {
        "exchange": "XNYS",
        "time_zone": ZONE,
        "first_day": str(FIRST),
        "last_day": str(LAST),
        "open": OPEN,
        "close": CLOSE,
        "closures": [str(day.date()) for day in weekdays.difference(calendar.sessions)],
        "irregular": {
            str(day.date()): [opens, closes] for day, opens, closes in hours if (opens, closes) != (OPEN, CLOSE)
        },
    }


def main() -> None:
    """Replace the committed file."""
    TARGET.write_text(json.dumps(session_data(), indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
