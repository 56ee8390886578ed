"""How soon a process notices that the host of its ledger is gone without a word: options of libpq.

A host that lost its power, or a firewall that forgot a connection, tells nobody. Whoever waits for an
answer waits as long as the system's own limits say: a quarter of an hour for what was sent
(``tcp_retries2``), two hours where all of it was received. Another server may have the address by then, and
nobody asks it: the leading beat hangs, and so does each that could take over.

The values are below the lease of a leader (10 s), and far below that of a run (30 s), whose worker still
reaches the new server with its next heartbeat. An answer that takes long is another matter: the system of
its host says meanwhile that it lives.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: For ``OPTIONS`` of the ledger's entry in ``DATABASES`` (libpq documentation, "Parameter Key Words"). Ignored
#: on Unix sockets.
NOTICES_A_LOST_LEDGER: Mapping[str, int] = MappingProxyType(
    {
        "connect_timeout": 5,  # seconds, for each address of the host
        # Where nothing comes for four seconds the host is asked, and again every two: eight are too many.
        "keepalives": 1,
        "keepalives_idle": 4,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        # On Linux this decides, and not the count, and it alone where what was sent is not taken. It is looked
        # at when the host is asked again: less than eight seconds, or the look after that would be the first.
        "tcp_user_timeout": 7_000,  # milliseconds
    }
)
