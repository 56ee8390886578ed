"""The process of the repairs' bench: prints, as JSON, the seconds of a run of vacuum_analyze by the whole engine."""

import json
import logging
import time

import django


def main() -> dict[str, float]:
    """Do one run on the target ``many``: claimed, under a lease, each step noted, its report stored."""
    from django.core.management import call_command

    from maintenance.core.runs.in_process import work_here
    from maintenance.core.runs.ledger import Origin, create_run
    from maintenance.core.runs.registry import task_named
    from maintenance.models import RunState, Trigger

    call_command("migrate", verbosity=0)
    spec = task_named("vacuum_analyze")
    run = create_run(spec, "many", {"mode": "all"}, Origin(Trigger.CLI))
    begin = time.perf_counter()
    done = work_here(run)
    seconds = time.perf_counter() - begin
    if done.state != RunState.SUCCEEDED:
        raise RuntimeError(f"The run has {done.state}: {done.reason}")
    return {"seconds": seconds, "steps": done.progress_done}


if __name__ == "__main__":
    django.setup()
    logging.disable(logging.WARNING)
    print(json.dumps(main()))
