"""Numbers as people read them."""

from gradnoise_service.compare.comparison import Interval
from gradnoise_service.compare.wording import signed
from gradnoise_service.domain.spec import Value


def number(value: Value | None) -> str:
    """Return a value with the four digits that matter, a dash for none.

    >>> number(0.0123456), number(12), number(None), number("relu"), number(1.0)
    ('0.01235', '12', '–', 'relu', '1')
    """
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def span(interval: Interval | None) -> str:
    """Return the ends of an interval of differences.

    >>> span(Interval(low=-0.1, high=0.25, level=0.95, method=""))
    '−0.1 to +0.25'
    """
    return "–" if interval is None else f"{signed(interval.low)} to {signed(interval.high)}"


def ends(pair: tuple[float, float]) -> str:
    """Return the ends of a stretch of values, or the one value that it is.

    >>> ends((0.01, 0.3)), ends((0.5, 0.5))
    ('0.01 – 0.3', '0.5')
    """
    low, high = pair
    return number(low) if low == high else f"{number(low)} – {number(high)}"


def percent(share: float) -> str:
    """Return a share of one in percent: 0.975 as `97.5 %`."""
    return f"{100 * share:.3g} %"


def duration(seconds: float) -> str:
    """Return a span of time in the two units that matter.

    >>> duration(0.42), duration(8.4), duration(200), duration(7500)
    ('0.42 s', '8.4 s', '3 min 20 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def words(name: str) -> str:
    """Return a name from the code as words: `no_difference` as `no difference`."""
    return name.replace("_", " ")
