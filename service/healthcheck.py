"""Ask a page of this machine whether it is served: ``python -m service.healthcheck URL``. Exits 0 or 1.

For containers, whose image has neither curl nor wget. Any answer of ours counts, also that the scheduler
is dead: a web server is not started anew for that.
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5.0
#: 503 is what /health/ answers where nothing is sent; see maintenance.probes.
SERVED = (200, 503)


def is_served(url: str, host: str) -> bool:
    """Tell whether the page answers, as to a visitor who came through the TLS proxy by ``host``."""
    parts = urlsplit(url)
    client = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    try:
        client.request("GET", parts.path, headers={"Host": host, "X-Forwarded-Proto": "https"})
        return client.getresponse().status in SERVED
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    name = os.environ.get("DJANGO_ALLOWED_HOSTS", "").partition(",")[0].strip(" .")
    return 0 if is_served(arguments[0], name if name not in {"", "*"} else "localhost") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
