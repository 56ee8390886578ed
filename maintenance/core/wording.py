"""How measurements are said in a sentence that an operator reads."""

from datetime import UTC, datetime

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
#: A band up to this wide is said in days, a wider one in months.
_DAYS_SAID = 45
_TIME_UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def bytes_in_words(count: float) -> str:
    """Say a size with two or three significant digits in powers of 1024, as PostgreSQL does."""
    size = float(count)
    unit = 0
    while abs(size) >= 1023.5 and unit < len(_BYTE_UNITS) - 1:
        size /= 1024
        unit += 1
    digits = 1 if unit > 0 and abs(size) < 9.95 else 0
    return f"{size:.{digits}f} {_BYTE_UNITS[unit]}"


def seconds_in_words(seconds: float) -> str:
    """Say a duration in its largest fitting unit: ``3.5 hours``, ``12 seconds``, ``40 ms``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, name in _TIME_UNITS:
        if seconds >= size:
            amount = f"{seconds / size:.1f}".removesuffix(".0")
            return f"{amount} {name}" if amount == "1" else f"{amount} {name}s"
    return counted(round(seconds), "second")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Say a count with its noun: ``1 table``, ``3 tables``, ``1,204 rows``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def percent(ratio: float) -> str:
    """Say a ratio of 0 to 1 as a percentage without needless digits."""
    return f"{ratio * 100:.0f} %" if ratio == 0 or ratio >= 0.095 else f"{ratio * 100:.1f} %"


def listed(names: list[str], limit: int = 5) -> str:
    """Join names; past ``limit`` the rest are counted."""
    shown = ", ".join(names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def rows_in_words(count: float) -> str:
    """Say a number of rows."""
    return counted(round(count), "row")


def day_in_words(at_epoch_seconds: float) -> str:
    """Say the day of a moment, in UTC: ``2027-03-14``."""
    return f"{datetime.fromtimestamp(at_epoch_seconds, UTC):%Y-%m-%d}"


def forecast_in_words(about_at: float, earliest_at: float, latest_at: float | None) -> str:
    """Say when something happens: ``about 2027-03-14, between February and May 2027``.

    All in seconds since the epoch; ``latest_at`` is ``None`` where it may never happen.
    """
    about = f"about {day_in_words(about_at)}"
    first = datetime.fromtimestamp(earliest_at, UTC)
    if latest_at is None:
        return f"{about}, {first:%B %Y} at the earliest"
    last = datetime.fromtimestamp(latest_at, UTC)
    if first.date() == last.date():
        return about
    if (last - first).days <= _DAYS_SAID:
        return f"{about}, between {first:%Y-%m-%d} and {last:%Y-%m-%d}"
    year = "" if first.year == last.year else f" {first.year}"
    return f"{about}, between {first:%B}{year} and {last:%B %Y}"
