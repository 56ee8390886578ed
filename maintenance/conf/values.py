"""What a single setting may be: secrets by reference, URLs, times of day, rates, ratios."""

from datetime import time
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from maintenance.conf.references import Place, pieces_of
from maintenance.core.errors import ConfigurationError
from maintenance.core.rates import RateLimit
from maintenance.core.suggestions import did_you_mean
from maintenance.core.windows import WEEKDAYS


def _a_reference_or_url(text: str) -> str:
    if text.partition(":")[0] in {"env", "file"}:
        return text
    pieces = pieces_of(text)  # a place that is half written raises
    if "://" in text or any(isinstance(piece, Place) for piece in pieces):
        return text
    raise ValueError('must be a URL ("postgres://...", "redis://...") or a reference "env:NAME"')


def _a_timezone(name: str) -> str:
    known = available_timezones()
    if name not in known:
        raise ValueError(f'"{name}" is no time zone. {did_you_mean(name, known)}')
    return name


def _a_weekday(name: str) -> str:
    if name not in WEEKDAYS:
        raise ValueError(f'"{name}" is no day of the week. {did_you_mean(name, WEEKDAYS)}')
    return name


def _a_time_of_day(given: Any) -> Any:
    """Read "01:30"; TOML's own 01:30:00 is a time already."""
    try:
        read = time.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        read = None
    if not isinstance(read, time) or read.tzinfo is not None:
        raise ValueError('must be a time of day from "00:00" to "23:59"')
    return read


def _a_rate(text: str) -> str:
    try:
        RateLimit.parse(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return text


Timezone = Annotated[str, AfterValidator(_a_timezone)]

Weekday = Annotated[str, AfterValidator(_a_weekday)]

TimeOfDay = Annotated[time, BeforeValidator(_a_time_of_day)]

Url = Annotated[str, AfterValidator(_a_reference_or_url)]

Rate = Annotated[str, AfterValidator(_a_rate)]

Ratio = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values do not change after start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
