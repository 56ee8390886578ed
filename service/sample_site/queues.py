"""The site's Celery queues: Redis lists with the messages that kombu would have put there."""

import json
import random
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Final

from service.sample_site.keyspace import command
from service.sample_site.truth import Decoy, Fault, FaultKind

MAXIMUM_PENDING: Final = 1_000
"""The guide's target: fewer than 1000 pending tasks."""

# Pending messages by queue. Whatever the scale, one queue is too deep and the others are not.
PENDING: Final[Mapping[str, tuple[int, str]]] = {
    "high_priority": (3, "library.tasks.deliver_activity"),
    "medium_priority": (41, "library.tasks.update_home_stream"),
    "low_priority": (1_480, "library.tasks.refresh_cover"),
    "imports": (212, "library.tasks.import_item"),
}


def command_count() -> int:
    return len(PENDING) * 2


def commands(seed: int) -> Iterator[bytes]:
    """Fill each queue and its binding, as a publisher on an idle worker leaves them."""
    choose = random.Random(seed)  # noqa: S311 - repeatable identifiers, nothing secret
    for queue, (pending, task) in PENDING.items():
        yield command("SADD", f"_kombu.binding.{queue}", f"{queue}\x06\x16\x06\x16{queue}")
        messages = [_message(choose, queue, task, number) for number in range(pending)]
        yield command("LPUSH", queue, *messages)


def _message(choose: random.Random, queue: str, task: str, number: int) -> str:
    """A message of Celery's protocol 2 as kombu's Redis transport stores it."""
    task_id = str(uuid.UUID(int=choose.getrandbits(128), version=4))
    body = json.dumps(
        [[number], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    )
    return json.dumps(
        {
            "body": b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": task_id,
                "root_id": task_id,
                "parent_id": None,
                "retries": 0,
                "argsrepr": f"({number},)",
                "kwargsrepr": "{}",
                "origin": "gen1@library",
            },
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.UUID(int=choose.getrandbits(128), version=4)),
            },
        }
    )


def faults() -> list[Fault]:
    return [
        Fault(
            FaultKind.QUEUE_TOO_DEEP,
            queue,
            "Covers are fetched more slowly than they are asked for.",
            expected={"pending": pending, "maximum_pending": MAXIMUM_PENDING},
        )
        for queue, (pending, _) in PENDING.items()
        if pending >= MAXIMUM_PENDING
    ]


def decoys() -> list[Decoy]:
    return [
        Decoy(
            FaultKind.QUEUE_TOO_DEEP,
            queue,
            f"{pending} pending messages, fewer than {MAXIMUM_PENDING}.",
        )
        for queue, (pending, _) in PENDING.items()
        if pending < MAXIMUM_PENDING
    ]
