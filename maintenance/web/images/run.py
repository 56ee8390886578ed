"""A walk over media that makes images smaller, goes on where the last one ended, and forgets no fault."""

import hashlib
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from threading import Condition
from typing import Any

from maintenance.conf import MediaTarget
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.plans import Outcome
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.core.wording import bytes_in_words
from maintenance.web.images.folder import FULL_OR_READ_ONLY
from maintenance.web.images.header import FORMAT_OF_SUFFIX, Format
from maintenance.web.images.options import OptimizeOptions
from maintenance.web.images.places import MediaFile, Passed, Place, place_of, printable
from maintenance.web.images.recode import PASSING, LeftAlone, Reason, Recoded, Rules, recode
from maintenance.web.images.report import build_report
from maintenance.web.images.seen import Fingerprints
from maintenance.web.images.tally import Fault, Tally, left, rewritten

#: Files that wait for a worker, for each of them: one large image holds up the others this far.
WAITING_PER_JOB = 4
#: Raised where what is made of an image changes, so that all files are looked at anew.
RECIPE = 1

_Waiting = deque[tuple[MediaFile, Format, "Future[Outcome]"]]


def optimize_images(job: Job[MediaTarget, OptimizeOptions]) -> Report:
    """Make images smaller that can be, and say what stood in the way of the others.

    Files that an earlier run looked at are passed by, unless they changed. Each file is read once
    and decoded once. Memory is bounded by ``jobs`` files and :class:`PixelRoom`; beside them stand
    16 bytes a file of the place, and a hundred for a moment at the end. A run that its budget ends
    leaves its place in ``state``. Raises :class:`Skipped` where Pillow is missing or would accept
    truncated files, and :class:`TargetUnavailable`.
    """
    _require_pillow()
    return _Walk(job, place_of(job.target, writes=not job.options.dry_run)).report()


def _require_pillow() -> None:
    try:
        from PIL import ImageFile  # noqa: PLC0415 - an extra
    except ImportError:
        raise Skipped(
            "Pillow is not installed: pip install 'celery-maintenance[images]' where the worker runs."
        ) from None
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise Skipped(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on in this process: half an image would be"
            " written over what may still be restored. Run the worker without it."
        )


class PixelRoom:
    """At most so many pixels are decoded at once, however many workers there are."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._freed = Condition()

    def take(self, pixels: int) -> None:
        """Wait until there is room. An image larger than all the room has it to itself."""
        with self._freed:
            self._freed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels

    def give_back(self, pixels: int) -> None:
        """Let others in."""
        with self._freed:
            self._taken -= pixels
            self._freed.notify_all()


class _Walk:
    def __init__(self, job: Job[MediaTarget, OptimizeOptions], place: Place) -> None:
        self._job = job
        self._place = place
        self._rules = Rules.of(job.target)
        self._room = PixelRoom(job.target.maximum_pixels)
        self._tally = Tally()
        # By what the file was afterwards: that is what another attempt meets.
        self._done = {int(one.after["fingerprint"]): one for one in job.steps.done().values()}
        self._stopped_because = ""
        self._takes_no_more = False
        self._cursor = ""
        self._looked_at_now = array("Q")
        state = self._usable_state()
        self._start = str(state.get("cursor", ""))
        self._earlier_in_pass = Fingerprints.unpacked(str(state.get("in_pass", "")))
        self._earlier = Fingerprints.unpacked(str(state.get("seen", "")))
        self._old_faults = {int(f[3]): Fault(*f) for f in state.get("faults", ())}

    def _usable_state(self) -> Mapping[str, Any]:
        """Return what the last run left, nothing where other rules hold by now."""
        state = self._job.previous_state
        is_usable = state.get("rules") == self._rules_digest() and not self._job.options.again
        return state if is_usable else {}

    def _rules_digest(self) -> str:
        text = f"{RECIPE} {self._rules} {self._job.target.exclude} {self._job.target.maximum_file_bytes}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def report(self) -> Report:
        """Walk, and say what came of it."""
        started = time.monotonic()
        with ThreadPoolExecutor(self._job.target.jobs, "images") as pool:
            try:
                self._walk(pool, started)
            finally:
                pool.shutdown(cancel_futures=True)
        return build_report(
            self._job,
            self._tally,
            state=self._state(),
            stopped_because=self._stopped_because,
            goes_on_after=self._cursor if self._stopped_because else "",
            seconds=time.monotonic() - started,
        )

    def _walk(self, pool: ThreadPoolExecutor, started: float) -> None:
        waiting: _Waiting = deque()
        most = self._job.target.jobs * WAITING_PER_JOB
        for file, promised in self._images():
            if self._stopped_because or self._must_stop(started):
                break
            waiting.append((file, promised, pool.submit(self._one, file, promised)))
            if len(waiting) >= most:
                self._collect(waiting)
        while waiting:
            self._collect(waiting)
        if not self._stopped_because:
            self._cursor = ""

    def _must_stop(self, started: float) -> bool:
        now, window = time.time(), self._job.window
        if time.monotonic() - started > self._job.options.time_budget_seconds:
            self._stopped_because = "its time budget was used up"
        elif window is not None and not self._job.by_hand and now > window.closes_epoch_seconds:
            self._stopped_because = "its maintenance window closed"
        return bool(self._stopped_because)

    def _images(self) -> Iterator[tuple[MediaFile, Format]]:
        """Yield what has to be looked at; count the rest."""
        for entry in self._place.walk(self._start):
            tally = self._tally
            self._job.progress.update(tally.files, phase="looking at images", unit="files")
            if isinstance(entry, Passed):
                tally.pass_by(entry.name, entry.reason)
                continue
            tally.files += 1
            promised = FORMAT_OF_SUFFIX.get(PurePosixPath(entry.name).suffix.lower())
            if promised is None:
                continue
            number = entry.fingerprint
            if number in self._earlier or number in self._earlier_in_pass:
                self._pass_known(number)
            elif (step := self._done.get(number)) is not None:
                self._take(step)
            else:
                yield entry, promised

    def _pass_known(self, number: int) -> None:
        self._tally.known += 1
        self._looked_at_now.append(number)
        fault = self._old_faults.get(number)
        if fault is not None:
            self._tally.add_fault(fault)

    def _collect(self, waiting: _Waiting) -> None:
        """Take the oldest result: cursor and progress follow the order of names."""
        file, _promised, future = waiting.popleft()
        self._job.progress.update(
            self._tally.files, phase=f"at {printable(file.name)}", unit="files"
        )
        try:
            outcome = future.result()
        except FileNotFoundError:
            self._tally.pass_by(file.name, "vanished meanwhile")
            return
        except OSError as error:
            self._stopped_because = f"{printable(file.name)} could not be written: {error.strerror}"
            self._takes_no_more = True
            return
        if outcome.after.get("reason") in PASSING:
            self._tally.add(outcome)
        else:
            self._job.steps.record(_key(file), outcome)
            self._take(outcome)
        if not self._takes_no_more:  # the next run begins with the file that did not fit
            self._cursor = file.name

    def _take(self, outcome: Outcome) -> None:
        self._tally.add(outcome)
        self._looked_at_now.append(int(outcome.after["fingerprint"]))

    def _one(self, file: MediaFile, promised: Format) -> Outcome:
        """Look at one file, in a worker's thread.

        Raises ``FileNotFoundError``, and ``OSError`` where the place takes nothing more.
        """
        started = time.perf_counter()
        taken: list[int] = []
        try:
            image, now = self._smaller(file, promised, partial(self._admit, taken))
        except LeftAlone as why:
            return left(file, promised.value, why, time.perf_counter() - started)
        finally:
            self._room.give_back(sum(taken))
        return rewritten(file, promised.value, image, now, time.perf_counter() - started)

    def _smaller(
        self, file: MediaFile, promised: Format, admit: Callable[[int], None]
    ) -> tuple[Recoded, MediaFile | None]:
        if file.size_bytes > self._job.target.maximum_file_bytes:
            raise LeftAlone(Reason.TOO_LARGE, bytes_in_words(file.size_bytes))
        with _told_as(Reason.UNWRITABLE):
            self._place.require_replaceable(file)
        with _told_as(Reason.UNREADABLE):
            data = self._place.read(file)
        image = recode(data, promised, self._rules, admit)
        if self._job.options.dry_run:
            return image, None
        self._job.progress.check()
        with _told_as(Reason.UNWRITABLE):
            return image, self._place.replace(file, image.data)

    def _admit(self, taken: list[int], pixels: int) -> None:
        self._room.take(pixels)
        taken.append(pixels)

    def _state(self) -> Mapping[str, Any]:
        """Return where the next run begins and what it need not look at; a dry run changes nothing."""
        if self._job.options.dry_run:
            return self._job.previous_state
        in_pass = self._earlier_in_pass.with_more(self._looked_at_now)
        is_whole = not self._stopped_because
        faults = {fault.fingerprint: fault for fault in self._tally.faults}
        if not is_whole:  # those that it did not come to
            faults = {**self._old_faults, **faults}
        return {
            "rules": self._rules_digest(),
            "cursor": "" if is_whole else self._cursor or self._start,
            # After a whole pass, what was not met any more is forgotten.
            "seen": (in_pass if is_whole else self._earlier).packed(),
            "in_pass": "" if is_whole else in_pass.packed(),
            "faults": [[f.name, f.reason, f.detail, f.fingerprint] for f in faults.values()],
        }


@contextmanager
def _told_as(reason: Reason) -> Iterator[None]:
    """Turn an error of the place into a reason; a file that is gone and a full disk stay errors."""
    try:
        yield
    except (LeftAlone, FileNotFoundError):
        raise
    except OSError as error:
        if error.errno in FULL_OR_READ_ONLY:
            raise
        raise LeftAlone(reason, error.strerror or str(error)) from None
    except Exception as error:  # noqa: BLE001 - a storage raises what its client raises
        raise LeftAlone(reason, redact(str(error)) or type(error).__name__) from None


def _key(file: MediaFile) -> str:
    """Return the name of a step: of the file as it was found."""
    return f"{file.fingerprint:010x}"
