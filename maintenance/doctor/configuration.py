"""What is wrong with the configuration, each fault with its place in the file and what to do. Pure."""

from collections.abc import Iterator, Sequence

from maintenance.conf.toml_file import FileFault, ReadableFile
from maintenance.core.findings import Finding, Severity
from maintenance.core.redaction import redact


def file_faults(file: ReadableFile) -> Iterator[Finding]:
    """Say what of a file cannot be read, and how much of it is left out therefore."""
    for fault in file.faults:
        place = f"{file.path}, line {fault.line}" if fault.line else str(file.path)
        yield Finding(
            "configuration-unreadable", Severity.CRITICAL, place, f"{place}: {redact(fault.sentence)}.",
            evidence={"file": str(file.path), "line": fault.line},
            advice=" ".join((fault.mend, *_left_out(fault))),
        )  # fmt: skip


def _left_out(fault: FileFault) -> Iterator[str]:
    first, last = fault.left_out
    if not last:
        yield "Nothing of it is looked at below."
    elif first == last:
        yield f"Line {first} is left out below."
    else:
        yield f"Lines {first} to {last} are left out below."


def setting_faults(faults: Sequence[str], file: ReadableFile | None) -> Iterator[Finding]:
    """Say which settings are unknown or impossible: ``faults`` are sentences behind a path and a colon."""
    for fault in faults:
        path, _, sentence = fault.partition(": ")
        yield Finding(
            "configuration-fault", Severity.CRITICAL, path, f"{path}: {sentence}",
            advice=f"What it belongs to is left out below. Correct it in {_place(_parts(path, sentence), file)}.",
        )  # fmt: skip


def _parts(path: str, sentence: str) -> list[str]:
    """Return the path of a fault; one between two sections names a setting in its sentence."""
    return (sentence.partition(" ")[0] if path == "configuration" else path).split(".")


def _place(path: Sequence[str], file: ReadableFile | None) -> str:
    if file is None:
        return "MAINTENANCE"
    line = file.line_of(path)
    return f"line {line} of {file.path}" if line else str(file.path)


def fault_of_hook(module: str, error: Exception, file: ReadableFile | None) -> Finding:
    """Say that a hook module cannot be imported: no process but the doctor starts with it."""
    return Finding(
        "configuration-hook", Severity.CRITICAL, module,
        f"hook_modules: {module} cannot be imported: {redact(str(error)) or type(error).__name__}.",
        advice=f"Correct its name in {_place(['hook_modules'], file)}, put its folder on PYTHONPATH, or mend it.",
    )  # fmt: skip
