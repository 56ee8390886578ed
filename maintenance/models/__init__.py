"""The tables of the app."""

from maintenance.models.notifications import (
    Alarm,
    MutedFinding,
    Notification,
    NotificationKind,
    NotificationState,
)
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
from maintenance.models.targets import AcceptedTarget

__all__ = [
    "LONG_WAIT",
    "SUBJECT_LENGTH",
    "TERMINAL_STATES",
    "AcceptedTarget",
    "Alarm",
    "Blackout",
    "Leader",
    "Misfire",
    "MutedFinding",
    "Notification",
    "NotificationKind",
    "NotificationState",
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
