"""The tables of the app."""

from maintenance.models.runs import (
    LONG_WAIT,
    SUBJECT_LENGTH,
    TERMINAL_STATES,
    RateLimitState,
    Run,
    RunState,
    RunStep,
    SeverityChoice,
    StoredFinding,
    StoredReport,
    StoredSample,
    Trigger,
)
from maintenance.models.schedules import (
    Blackout,
    Leader,
    Misfire,
    OverlapPolicy,
    SchedulePolicy,
    ScheduleRow,
    ScheduleVersion,
    SyncedSchedule,
)

__all__ = [
    "LONG_WAIT",
    "SUBJECT_LENGTH",
    "TERMINAL_STATES",
    "Blackout",
    "Leader",
    "Misfire",
    "OverlapPolicy",
    "RateLimitState",
    "Run",
    "RunState",
    "RunStep",
    "SchedulePolicy",
    "ScheduleRow",
    "ScheduleVersion",
    "SeverityChoice",
    "StoredFinding",
    "StoredReport",
    "StoredSample",
    "SyncedSchedule",
    "Trigger",
]
