"""Numbers, intervals, durations and moments as text: the same in reports, pages and terminal.

Values have four significant digits, negative numbers a minus sign (U+2212), and a missing value is
a dash.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.domain.space import Value

MISSING = "–"


def number(value: Value | None) -> str:
    """Return a value with four significant digits; text and whole numbers as they are, lists and
    objects as JSON.

    >>> number(0.0123456), number(12), number(1.0), number(-0.25), number(-0.0)
    ('0.01235', '12', '1', '−0.25', '0')
    >>> number(12345.6), number(5e7), number("relu"), number(None), number(float("nan"))
    ('12,346', '5e+07', 'relu', '–', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        text = f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
        text = text if value else "0"
    else:
        text = str(value)
    return text if isinstance(value, str) else text.replace("-", "−", 1) if value < 0 else text


def given(value: object) -> str:
    """Return a given value of an option or a hyperparameter; null is a value.

    >>> given(0.10001), given(True), given(None)
    ('0.1', 'true', 'null')
    """
    if value is None or not isinstance(value, int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return number(value)


def signed(value: float | None) -> str:
    """Return a difference with its sign.

    >>> signed(0.70786), signed(-0.02), signed(0.0), signed(None)
    ('+0.7079', '−0.02', '0', '–')
    """
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def span(interval: Interval | None) -> str:
    """Return the ends of an interval of differences.

    >>> span(Interval(low=-0.1, high=0.25, level=0.95, method="bca"))
    '−0.1 to +0.25'
    """
    return MISSING if interval is None else f"{signed(interval.low)} to {signed(interval.high)}"


def ends(pair: tuple[float, float]) -> str:
    """Return the ends of a range of values; a single value if they are equal.

    >>> ends((0.01, 0.3)), ends((0.5, 0.5))
    ('0.01 – 0.3', '0.5')
    """
    low, high = pair
    return number(low) if low == high else f"{number(low)} – {number(high)}"


def percent(share: float | None) -> str:
    """Return a share in percent, with three significant digits.

    >>> percent(0.975), percent(1.0), percent(None)
    ('97.5 %', '100 %', '–')
    """
    return MISSING if share is None else f"{100 * share:.3g} %"


def percent_span(interval: Interval | None) -> str:
    """Return the ends of an interval of a share.

    >>> percent_span(Interval(low=0.2, high=0.75, level=0.95, method="wilson"))
    '20 % to 75 %'
    """
    return MISSING if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def level(probability: float) -> str:
    """Return an error probability in percent, with two significant digits.

    >>> level(0.05), level(0.00419)
    ('5 %', '0.42 %')
    """
    return f"{100 * probability:.2g} %"


def confidence(probability: float) -> str:
    """Return a confidence level in percent, with two significant digits of its complement.

    The levels of early looks are close to 100 %.

    >>> confidence(0.95), confidence(0.975), confidence(1 - 0.05 / 9), confidence(1 - 5.7e-10)
    ('95 %', '97.5 %', '99.44 %', '99.999999943 %')
    """
    missing = 100 * (1 - probability)
    text = f"{100 * probability:.{max(1, 1 - math.floor(math.log10(missing)))}f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def p_value(p: float | None) -> str:
    """Return a p-value with two significant digits.

    >>> p_value(0.000488), p_value(1.0), p_value(None)
    ('0.00049', '1', '–')
    """
    return MISSING if p is None else f"{p:.2g}"


def count(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or plural, by default with an s.

    >>> count(1, "trial"), count(1200, "trial"), count(2, "study", "studies")
    ('1 trial', '1,200 trials', '2 studies')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {plural or noun + 's'}"


def listed(items: Sequence[object]) -> str:
    """Return items as a list in a sentence.

    >>> listed([12]), listed([12, 18]), listed([6, 12, 18])
    ('12', '12 and 18', '6, 12 and 18')
    """
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units; seconds below 10 with two significant digits.

    >>> duration(0.42), duration(8.4), duration(59.7), duration(200), duration(7500)
    ('0.42 s', '8.4 s', '1 min 0 s', '3 min 20 s', '2 h 5 min')
    """
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.2g} s"
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {remainder} s" if minutes else f"{remainder} s"


def moment(at: datetime | None, zone: tzinfo | None = UTC) -> str:
    """Return an aware time to the minute, with its time zone; `zone` None is the machine's.

    >>> moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)), moment(None)
    ('2026-01-02 03:04 UTC', '–')
    """
    return MISSING if at is None else f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def as_words(name: str) -> str:
    """Return a name of the code as words: `no_difference` as `no difference`."""
    return name.replace("_", " ")
