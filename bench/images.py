"""optimize_images beside Pillow alone: the same files, sizes and qualities, the same number of threads.

The peer is a loop over the files in a pool of threads that opens, makes fit, turns, encodes with the
same parameters and writes over the file: no look at what is safe, nothing durable, no report. What
ours costs beyond it is the price of all that. Runs alternate, each on fresh copies of the folder.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from maintenance.conf import MediaTarget
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.web.images.options import OptimizeOptions
from maintenance.web.images.run import optimize_images

FILES = int(os.environ.get("IMAGES_FILES", "48"))
RUNS = int(os.environ.get("IMAGES_RUNS", "7"))
KNOWN_FILES = int(os.environ.get("IMAGES_KNOWN_FILES", "20000"))
JOBS = os.cpu_count() or 1

TIME_LIMIT = 1.10
KNOWN_LIMIT_US = 100.0

#: What sites keep, by how often: photographs, and some drawings.
SHAPES: tuple[tuple[str, str, tuple[int, int], dict[str, Any]], ...] = (
    ("JPEG", ".jpg", (1600, 1200), {"quality": 95}),
    ("JPEG", ".jpg", (1200, 1600), {"quality": 92, "progressive": True}),
    ("JPEG", ".jpg", (800, 600), {"quality": 95}),
    ("WEBP", ".webp", (1200, 900), {"quality": 95}),
    ("PNG", ".png", (1000, 700), {}),
    ("AVIF", ".avif", (1000, 700), {"quality": 95}),
)
#: How the peer encodes: as ours does.
PARAMETERS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 85, "optimize": True},
    "PNG": {"optimize": True},
    "WEBP": {"quality": 85},
    "AVIF": {"quality": 85, "max_threads": 1},
}


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        home = Path(folder)
        _make_images(home / "images")
        return [_beside_pillow(home), _known(home)]


def _make_images(folder: Path) -> None:
    """Write pictures that are as hard to encode as photographs: gradients with fine grain."""
    folder.mkdir()
    for number in range(FILES):
        form, suffix, size, how = SHAPES[number % len(SHAPES)]
        across = Image.linear_gradient("L").resize(size)
        grain = Image.effect_noise(size, 40)
        red = Image.blend(across, grain, 0.15)
        green = Image.blend(Image.radial_gradient("L").resize(size), grain, 0.15)
        image = Image.merge("RGB", (red, green, across.rotate(90).resize(size)))
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 4 == 0 else 1
        image.save(folder / f"{number:04}{suffix}", form, exif=exif, **how)


def _pillow(folder: Path, jobs: int) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(_by_pillow, sorted(folder.iterdir())))


def _by_pillow(path: Path) -> None:
    with Image.open(path) as image:
        form = image.format or ""
        profile = image.info.get("icc_profile")
        how = dict(PARAMETERS[form])
        if form == "JPEG":
            how["progressive"] = bool(image.info.get("progressive"))
        image.thumbnail((800, 800), Image.Resampling.LANCZOS)
        upright = ImageOps.exif_transpose(image)
    output = BytesIO()
    upright.save(output, form, icc_profile=profile, **how)
    path.write_bytes(output.getvalue())


def _ours(folder: Path, jobs: int) -> Report:
    # Whatever the gain, as the peer does.
    target = MediaTarget(path=str(folder), jobs=jobs, minimum_saving_ratio=0)
    report = optimize_images(Job("bench", target, OptimizeOptions()))
    if report.facts["looked_at_images"] != FILES:
        raise RuntimeError(report.summary)
    return report


def _timed(home: Path, work: Callable[[Path], Any]) -> tuple[float, float]:
    """Return the seconds that passed, and those that processors were at work."""
    copy = home / "copy"
    shutil.copytree(home / "images", copy)
    started, worked = time.perf_counter(), time.process_time()
    work(copy)
    taken = time.perf_counter() - started, time.process_time() - worked
    shutil.rmtree(copy)
    return taken


def _beside_pillow(home: Path) -> dict[str, Any]:
    ways: dict[str, Callable[[Path], Any]] = {
        "ours": partial(_ours, jobs=JOBS),
        "pillow": partial(_pillow, jobs=JOBS),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    worked: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(RUNS):
        for name in list(ways)[:: 1 if number % 2 else -1]:  # each comes first in its turn
            seconds, processor_seconds = _timed(home, ways[name])
            taken[name].append(seconds)
            worked[name].append(processor_seconds)
    alone, _ = _timed(home, partial(_pillow, jobs=1))
    ratio, processor_ratio = (
        statistics.median(o / p for o, p in zip(times["ours"], times["pillow"], strict=True))
        for times in (taken, worked)
    )
    ours, pillow = (statistics.median(taken[name]) / FILES * 1000 for name in ("ours", "pillow"))
    return {
        "name": f"time of optimize_images a file against Pillow alone, {JOBS} workers, {FILES} files",
        "value": ratio,
        "unit": "times",
        "peer": f"ours {ours:.1f} ms, Pillow {pillow:.1f} ms a file ({alone / FILES * 1000:.1f} ms in"
        f" one thread); processor time {processor_ratio:.2f} times",
        "limit": f"at most {TIME_LIMIT:g}",
        "met": ratio <= TIME_LIMIT,
        "raw": {"seconds": taken, "processor_seconds": worked},
    }


def _known(home: Path) -> dict[str, Any]:
    """Measure what a file costs that an earlier run looked at."""
    folder = home / "known"
    small = BytesIO()
    Image.new("RGB", (8, 8)).save(small, "JPEG", quality=50)
    for number in range(KNOWN_FILES):
        path = folder / f"{number % 100:02}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small.getvalue())
    target = MediaTarget(path=str(folder), jobs=JOBS)
    first = optimize_images(Job("bench", target, OptimizeOptions()))
    seconds: list[float] = []
    for _ in range(RUNS):
        started = time.perf_counter()
        job = Job("bench", target, OptimizeOptions(), previous_state=first.state)
        report = optimize_images(job)
        seconds.append(time.perf_counter() - started)
        if report.facts["looked_at_before"] != KNOWN_FILES:
            raise RuntimeError(report.summary)
    value = statistics.median(seconds) / KNOWN_FILES * 1e6
    state_bytes = len(str(first.state["seen"])) / KNOWN_FILES
    return {
        "name": f"time for a file that is known from an earlier run, {KNOWN_FILES:,} files",
        "value": value,
        "unit": "us",
        "peer": f"{state_bytes:.1f} bytes of state a file",
        "limit": f"at most {KNOWN_LIMIT_US:g}",
        "met": value <= KNOWN_LIMIT_US,
    }
