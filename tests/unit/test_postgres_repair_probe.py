"""What the probe feels beside the work, and what it feels while the run stands still."""

from collections import deque

from maintenance.postgres.repair.probe import BASELINE_PROBES, RECENT_PROBES, Probe


class Felt(Probe):
    """A probe whose latencies are given: as usual before, then what a test appends."""

    def __init__(self, usual_ms: float) -> None:
        self.latencies = deque([usual_ms] * (1 + BASELINE_PROBES))
        super().__init__(conn=None)  # type: ignore[arg-type] - nothing is sent

    def _ask(self) -> float:
        return self.latencies.popleft()

    def feel(self, latency_ms: float, *, beside_work: bool) -> None:
        self.latencies.extend([latency_ms] * RECENT_PROBES)
        for _ in range(RECENT_PROBES):
            self.send(beside_work=beside_work)


def test_a_run_that_stands_still_feels_when_the_site_is_quick_again() -> None:
    probe = Felt(1.0)
    assert probe.added_ms is None

    probe.feel(9.0, beside_work=True)
    assert probe.added_ms == 8.0
    probe.feel(1.0, beside_work=False)

    assert probe.added_ms == 0.0


def test_what_is_felt_without_work_is_not_laid_to_its_charge() -> None:
    probe = Felt(1.0)
    probe.feel(9.0, beside_work=False)
    assert probe.change is None
    probe.feel(2.0, beside_work=True)
    assert probe.change is not None
    assert probe.change.slowest_ms == 2.0
    assert probe.change.probes == RECENT_PROBES
