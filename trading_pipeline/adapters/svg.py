"""Line plots as SVG, written element by element: cheap enough for a run that every session pays for.

Importing matplotlib and drawing four small plots takes 1.3 processor seconds, which is half of what judging a session
of thousands of symbols takes; this takes milliseconds, and the words in the picture stay words.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

_SVG: Final = "http://www.w3.org/2000/svg"
_FONT_SIZE: Final = 9
_DAYS_NAMED: Final = 6
_NUMBERS: Final = 8
_DAY_STEPS: Final = (1, 2, 7, 14)
_MONTH_STEPS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
_MARKER: Final = 3.0
"""Half the width of a marker."""
_GREY: Final = "#dddddd"


def picture(width: float, height: float) -> Element:
    """Return an empty white picture of a size in pixels."""
    box = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    svg = Element("svg", {"xmlns": _SVG, "font-family": "sans-serif", "font-size": str(_FONT_SIZE)} | box)
    SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    return svg


def as_bytes(svg: Element) -> bytes:
    """Return a picture as the content of a file."""
    content: bytes = tostring(svg, encoding="utf-8", xml_declaration=True)
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """A rectangle of a picture with days from left to right and numbers from bottom to top.

    Attributes:
        svg: the picture that is drawn on.
        left: with `top`, `width` and `height` the rectangle in pixels, from the picture's upper left corner.
        days: first and last day.
        values: lowest and highest number, which differ.
    """

    svg: Element
    left: float
    top: float
    width: float
    height: float
    days: tuple[date, date]
    values: tuple[float, float]

    def x(self, day: date) -> float:
        """Return where a day is, in pixels from the left."""
        first, last = self.days
        return self.left + self.width * (day - first).days / max((last - first).days, 1)

    def y(self, value: float) -> float:
        """Return where a number is, in pixels from the top."""
        low, high = self.values
        return self.top + self.height * (high - value) / (high - low)

    def grid(self, label: str) -> None:
        """Draw the frame, a grid with its numbers and days, and what the numbers are."""
        right, bottom = self.left + self.width, self.top + self.height
        for value in _round_numbers(*self.values):
            self._line((self.left, self.y(value)), (right, self.y(value)), stroke=_GREY)
            self._text(f"{value:,.10g}", self.left - 4, self.y(value) + 3, anchor="end")
        for day, words in _round_days(*self.days):
            self._line((self.x(day), self.top), (self.x(day), bottom), stroke=_GREY)
            self._text(words, self.x(day), bottom + 12, anchor="middle")
        box = {"x": _px(self.left), "y": _px(self.top), "width": _px(self.width), "height": _px(self.height)}
        SubElement(self.svg, "rect", box | {"fill": "none", "stroke": "black", "stroke-width": "0.6"})
        self._text(label, 10, self.top + self.height / 2, anchor="middle", upright=True)

    def line(self, days: Iterable[date], values: Iterable[float], color: str) -> None:
        """Draw numbers over days, joined by a line."""
        points = " ".join(f"{_px(self.x(day))},{_px(self.y(value))}" for day, value in zip(days, values, strict=True))
        look = {"fill": "none", "stroke": color, "stroke-width": "1.2", "stroke-linejoin": "round"}
        SubElement(self.svg, "polyline", {"points": points} | look)

    def crosses(self, days: Iterable[date], values: Iterable[float], color: str) -> None:
        """Draw a cross at each."""
        for day, value in zip(days, values, strict=True):
            self._cross(self.x(day), self.y(value), color)

    def triangles(self, days: Iterable[date], color: str) -> None:
        """Draw a triangle at the foot of each day."""
        for day in days:
            self._triangle(self.x(day), self.top + self.height, color)

    def event(self, day: date, words: str, color: str) -> None:
        """Draw a dashed line through a day with its words along it."""
        x = self.x(day)
        self._line((x, self.top), (x, self.top + self.height), stroke=color, dash="4 3")
        self._text(words, x - 3, self.top + 4, anchor="end", upright=True)

    def legend(self, entries: Sequence[tuple[str, str, str]]) -> None:
        """Name what is drawn, in the upper left corner: shape (`line`, `cross` or `triangle`), colour and words."""
        for row, (shape, color, words) in enumerate(entries):
            x, y = self.left + 16, self.top + 11 + 12 * row
            if shape == "line":
                self._line((x - 8, y), (x + 8, y), stroke=color)
            elif shape == "cross":
                self._cross(x, y, color)
            else:
                self._triangle(x, y, color)
            self._text(words, x + 13, y + 3)

    def _line(self, start: tuple[float, float], end: tuple[float, float], *, stroke: str, dash: str = "") -> None:
        ends = {"x1": _px(start[0]), "y1": _px(start[1]), "x2": _px(end[0]), "y2": _px(end[1])}
        SubElement(self.svg, "line", ends | {"stroke": stroke} | ({"stroke-dasharray": dash} if dash else {}))

    def _cross(self, x: float, y: float, color: str) -> None:
        arms = f"M{_px(x - _MARKER)},{_px(y - _MARKER)}l6,6m0,-6l-6,6"
        SubElement(self.svg, "path", {"class": "cross", "d": arms, "stroke": color, "stroke-width": "1.4"})

    def _triangle(self, x: float, y: float, color: str) -> None:
        shape = f"M{_px(x)},{_px(y - _MARKER)}l3,6h-6z"
        SubElement(self.svg, "path", {"class": "triangle", "d": shape, "fill": color})

    def _text(self, words: str, x: float, y: float, *, anchor: str = "start", upright: bool = False) -> None:
        place = {"x": _px(x), "y": _px(y), "text-anchor": anchor}
        turned = {"transform": f"rotate(-90 {_px(x)} {_px(y)})"} if upright else {}
        SubElement(self.svg, "text", place | turned).text = words


def _px(length: float) -> str:
    return f"{length:.1f}"


def _round_numbers(low: float, high: float) -> list[float]:
    """Return a few multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _NUMBERS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _round_days(first: date, last: date) -> list[tuple[date, str]]:
    """Return a few days with their names: every so many days of a short time, else firsts of months."""
    span = (last - first).days
    for step in _DAY_STEPS:
        if span < _DAYS_NAMED * step:
            return [(day, str(day)) for day in (first + timedelta(at) for at in range(0, span + 1, step))]
    months = range(12 * first.year + first.month, 12 * last.year + last.month)
    for step in _MONTH_STEPS:
        chosen = [month for month in months if month % step == 0]
        if len(chosen) <= _DAYS_NAMED + 1:
            break
    starts = [date(month // 12, month % 12 + 1, 1) for month in chosen]
    return [(day, f"{day:%Y-%m}") for day in starts]
