"""What dropping by a cache's rules takes on its server: said in reports, and by the doctor."""

from collections.abc import Iterable, Iterator

from maintenance.caching.patterns import NEEDS_ACL as PATTERN_ACL
from maintenance.caching.warm_after import NEEDS_ACL as WARM_AFTER_ACL
from maintenance.conf import InvalidationRule


def rights_of_rules(rules: Iterable[InvalidationRule]) -> Iterator[str]:
    """Yield the least ACL rules for invalidation by ``rules``, some twice; none where there are none."""
    for rule in rules:
        yield from WARM_AFTER_ACL
        if rule.patterns or rule.prefixes:
            yield from PATTERN_ACL
        if rule.older_than_seconds:
            yield "+object|idletime"
        if rule.keys:
            yield from ("+strlen", "+del")
        if rule.tags or rule.namespaces:
            yield from ("+get", "+del")
