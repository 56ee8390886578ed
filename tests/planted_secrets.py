"""A site every one of whose addresses and tokens is a secret, and none of whose servers is there."""

import tomllib
from typing import Any

#: Port 1 refuses; a port that is no number breaks whoever reads the address, and so does a password with a "/".
PLACES = {
    "DATABASE": "postgres://crew:{}@127.0.0.1:1/site",
    "BROKEN_DATABASE": "postgres://crew:{}@127.0.0.1:port/site",
    "WRITTEN_OUT": "postgres://crew:{}@127.0.0.1:1/site",
    "KEYWORDS": "postgres://127.0.0.1:1/site?user=crew&password={}",
    "DIRECT": "postgres://crew:{}@127.0.0.1:1/site",
    "PGBOUNCER": "postgres://crew:{}@127.0.0.1:1/pgbouncer",
    "REPLICA": "postgres://crew:{}@127.0.0.1:1/site",
    "REDIS": "redis://crew:{}@127.0.0.1:1/0",
    "WRITTEN_OUT_REDIS": "redis://:{}@127.0.0.1:1/0",
    "BROKEN_REDIS": "redis://:{}@127.0.0.1:port/0",
    "SENTINEL": "redis://:{}@127.0.0.1:1",
    "BROKER": "redis://:{}@127.0.0.1:1/0",
    "RABBITMQ": "amqp://crew:{}@127.0.0.1:1//",
    "CACHE": "redis://:{}@127.0.0.1:1/1",
    "SLASHED_DATABASE": "postgres://crew:{}/x@127.0.0.1:1/site",
    "SLASHED_REDIS": "redis://:{}/x@127.0.0.1:1/0",
    "SLASHED_RABBITMQ": "amqp://crew:{}/x@127.0.0.1:1//",
    "PING": "http://127.0.0.1:1/ping/{}",
    "WRITTEN_OUT_PING": "http://127.0.0.1:1/ping/{}",
    "HEADER": "Basic {}",
    "CHAT": "json://crew:{}@127.0.0.1:1/",
    "METRICS_TOKEN": "{}",
    "READ_TOKEN": "{}",
    "RUN_TOKEN": "{}",
}
SECRETS = {name: f"Planted-{number:02}-0123456789abcdef" for number, name in enumerate(PLACES)}
#: The variables that the configuration below refers to; addresses that are written out stand in it.
ENVIRONMENT = {name: form.format(SECRETS[name]) for name, form in PLACES.items()}

#: A maintenance.toml.
SITE_TOML = f"""
[databases]
site = {{ url = "env:DATABASE", replicas = ["env:REPLICA"], pgbouncer = "env:PGBOUNCER" }}
broken = {{ url = "env:BROKEN_DATABASE" }}
written_out = {{ url = "{ENVIRONMENT["WRITTEN_OUT"]}" }}
slashed = {{ url = "env:SLASHED_DATABASE", pgbouncer = "env:SLASHED_DATABASE" }}
keywords = {{ url = "env:KEYWORDS", direct_url = "env:DIRECT" }}

[redis]
site = {{ url = "env:REDIS" }}
broken = {{ url = "env:BROKEN_REDIS" }}
slashed = {{ url = "env:SLASHED_REDIS" }}
written_out = {{ url = "{ENVIRONMENT["WRITTEN_OUT_REDIS"]}" }}
watched = {{ url = "env:REDIS", sentinels = ["env:SENTINEL"], sentinel_name = "main" }}

[brokers]
site = {{ url = "env:BROKER", queues = ["default"] }}
rabbit = {{ url = "env:RABBITMQ", queues = ["default"] }}
slashed = {{ url = "env:SLASHED_RABBITMQ", queues = ["default"] }}

[caches]
site = {{ url = "env:CACHE" }}

[pings]
all = {{ url = "env:PING", timeout_seconds = 1 }}
written_out = {{ url = "{ENVIRONMENT["WRITTEN_OUT_PING"]}", timeout_seconds = 1 }}

[load_test]
site = {{ url = "http://127.0.0.1:1/", pages = {{ "/" = 1 }}, headers = {{ Authorization = "{ENVIRONMENT["HEADER"]}" }} }}

[notifications]
apprise = {{ chat = "env:CHAT" }}

[access]
metrics = "env:METRICS_TOKEN"
read = "env:READ_TOKEN"
run = "env:RUN_TOKEN"
"""
SITE: dict[str, Any] = tomllib.loads(SITE_TOML)
