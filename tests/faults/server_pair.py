"""A program for the tests: opens a state folder, starts both servers, waits to be ended.

It prints one line of JSON with the servers' pids and addresses, then reads its standard input to
the end and stops everything in order.
"""

import json
import os
import sys
from pathlib import Path

from service.embedded.postgres import EmbeddedPostgres
from service.embedded.state import StateFolder
from service.embedded.valkey import EmbeddedValkey


def main(folder: Path) -> None:
    with (
        StateFolder.open(folder) as state,
        EmbeddedPostgres(state.postgres, state.secrets.postgres_password) as postgres,
        EmbeddedValkey(state.valkey("broker"), state.secrets.valkey_password) as valkey,
    ):
        facts = {
            "uid": os.geteuid(),
            "pids": [postgres.pid, valkey.pid],
            "postgres": postgres.url(),
            "valkey": valkey.url(),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
