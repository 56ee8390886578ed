"""The configuration: one ``MAINTENANCE`` mapping, checked as a whole.

The same keys stand in a Django project's ``settings.MAINTENANCE`` and in the service's
``maintenance.toml``. Secrets are referenced, never written: ``"env:NAME"`` is read from the
environment and ``"file:/run/secrets/name"`` from a file, at the moment a connection is made.
"""

from maintenance.conf.access import AccessTokens
from maintenance.conf.caches import CacheTarget, InvalidationRule
from maintenance.conf.databases import Dangerous, DatabaseTarget, Pacing, ServerFacts
from maintenance.conf.deployments import DeploymentTarget
from maintenance.conf.load_test import LoadTestTarget
from maintenance.conf.logs import LogTarget
from maintenance.conf.media import MediaReference, MediaTarget
from maintenance.conf.notifications import MAIL, NotificationSettings
from maintenance.conf.pings import PingTarget
from maintenance.conf.redis import BrokerTarget, ReclaimRules, RedisTarget
from maintenance.conf.references import resolve_secret
from maintenance.conf.sites import SiteTarget
from maintenance.conf.streams import StreamFamily, StreamOwners, overlaps_of
from maintenance.conf.thresholds import Thresholds, is_above, is_below
from maintenance.conf.whole import (
    Configuration,
    HostTarget,
    configuration,
    parse_configuration,
    sentence_of_faults,
    sound_part,
)

__all__ = [
    "MAIL",
    "AccessTokens",
    "BrokerTarget",
    "CacheTarget",
    "Configuration",
    "Dangerous",
    "DatabaseTarget",
    "DeploymentTarget",
    "HostTarget",
    "InvalidationRule",
    "LoadTestTarget",
    "LogTarget",
    "MediaReference",
    "MediaTarget",
    "NotificationSettings",
    "Pacing",
    "PingTarget",
    "ReclaimRules",
    "RedisTarget",
    "ServerFacts",
    "SiteTarget",
    "StreamFamily",
    "StreamOwners",
    "Thresholds",
    "configuration",
    "is_above",
    "is_below",
    "overlaps_of",
    "parse_configuration",
    "resolve_secret",
    "sentence_of_faults",
    "sound_part",
]
