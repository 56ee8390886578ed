"""How long the certificates are valid that messages are signed with (Celery's ``security_*`` settings)."""

import ssl
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import seconds_in_words
from maintenance.doctor.certificates import SOON_SECONDS, Validity, validity_of

_RENEW = (
    "Make a new key and certificate, put them in place, and start all programs anew at once: signatures of one"
    " mean nothing to those that trust the other."
)


def signing_certificates(certificate: str, store: str) -> Iterator[Finding]:
    """Judge the certificate of a process and those that it trusts, a folder or a pattern of files.

    One that has expired is refused, and keeps every program from starting that has it.
    """
    pattern = f"{store}/*" if Path(store).is_dir() else store
    files = glob(pattern)  # noqa: PTH207 - as Celery reads the setting
    for path in sorted({certificate, *files} - {""}):
        try:
            found = certificate_of_file(Path(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no certificate"
            yield Finding(
                "certificate-unreadable", Severity.WARNING, path,
                f"{path}, by which messages are signed or checked, cannot be read: {reason}.",
                advice="Let this user read it, or correct security_certificate and security_cert_store.",
            )  # fmt: skip
        else:
            yield _judged(path, found)


def certificate_of_file(path: Path) -> Validity:
    """Read the first certificate of a file in PEM.

    Raises ``OSError`` where it cannot be read, ``ValueError`` where it holds none.
    """
    text = path.read_text()
    start = text.index(ssl.PEM_HEADER)
    end = text.index(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
    return validity_of(ssl.PEM_cert_to_DER_cert(text[start:end]))


def _judged(path: str, found: Validity) -> Finding:
    left = found.left_seconds()
    if left <= 0:
        return Finding(
            "certificate-expired", Severity.CRITICAL, path,
            f"{path}, by which messages are signed or checked, expired on {found.until}: no program starts with it.",
            advice=_RENEW,
        )  # fmt: skip
    if left <= SOON_SECONDS:
        return Finding(
            "certificate-expires", Severity.WARNING, path,
            f"{path}, by which messages are signed or checked, expires in {seconds_in_words(left)},"
            f" on {found.until}: no program starts with it then.",
            advice=_RENEW,
        )  # fmt: skip
    return Finding("certificate", Severity.OK, path, f"certificate until {found.until}")
