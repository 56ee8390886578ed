"""How a message leaves: Django's mail, or Apprise. What goes wrong is said without a secret."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from email.mime.image import MIMEImage
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import SoftTimeLimitExceeded
from django.db import Error as LedgerError
from django.utils.crypto import salted_hmac

from maintenance.conf import MAIL, NotificationSettings
from maintenance.core.errors import ConfigurationError, MaintenanceError
from maintenance.core.redaction import redact
from maintenance.core.runs.soft_limit import soft_limit_goes_through
from maintenance.notifications.message import Message

if TYPE_CHECKING:
    from django.core.mail import EmailMultiAlternatives

#: Django waits for a mail server without end unless EMAIL_TIMEOUT is set.
MAIL_TIMEOUT_SECONDS = 20
#: Chats and phones cut what is longer; what matters stands on top, and the mail or the page has all.
MOST_APPRISE_CHARACTERS = 3000

#: Answers of a mail server about one recipient: the next may be taken.
_OF_ONE_RECIPIENT = (SMTPRecipientsRefused, SMTPDataError)


class Unsent(MaintenanceError):
    """A message did not leave, or not to everybody; the reason holds no secret.

    ``others_are_reached`` says that the channel works: some take what comes on it.
    """

    def __init__(self, reason: str, *, others_are_reached: bool = False) -> None:
        super().__init__(reason)
        self.others_are_reached = others_are_reached


class Receipts(Protocol):
    """Who has taken a message already, at this attempt or an earlier one."""

    def __contains__(self, receiver: str, /) -> bool:
        """Tell whether this one has."""

    def __len__(self) -> int:
        """Return how many have."""

    def add(self, receiver: str) -> None:
        """Note one more, at once: whoever is noted gets no second copy."""


def send(
    message: Message,
    channel: str,
    settings: NotificationSettings,
    message_id: str,
    receipts: Receipts,
) -> None:
    """Send a message on one channel, to whoever has not taken it yet.

    ``message_id`` is the same at each attempt: whoever gets a mail twice can see that it is one. Raises
    :class:`Unsent` with a reason that holds no password and no URL.
    """
    if channel == MAIL:
        _mail(message, settings, message_id, receipts)
    else:
        _apprise(message, channel, settings, receipts)


def _mail(
    message: Message, settings: NotificationSettings, message_id: str, receipts: Receipts
) -> None:
    """Send one mail to each recipient: of one for all, Django does not say whom a server refused."""
    taken_before = len(receipts)
    faults: defaultdict[str, list[str]] = defaultdict(list)
    only_refusals = True
    for recipient in settings.recipients:
        if recipient in receipts:
            continue
        try:
            _mail_of(message, settings, message_id, recipient).send()
        except SoftTimeLimitExceeded:
            raise  # it is the run's, and says nothing of the server
        except Exception as error:  # noqa: BLE001 - whatever a mail backend raises is a reason
            faults[redact(_words(error))].append(recipient)
            only_refusals &= isinstance(error, SMTPRecipientsRefused)
            if isinstance(error, OSError) and not isinstance(error, _OF_ONE_RECIPIENT):
                break  # nobody is there, or lets us in, and each look at that may take its time
        else:
            receipts.add(recipient)
    if faults:
        works = len(receipts) > taken_before or (taken_before > 0 and only_refusals)
        is_of_all = len(settings.recipients) == 1 and not only_refusals
        reasons = [
            words if is_of_all else f"{', '.join(names)}: {words}"
            for words, names in faults.items()
        ]
        raise Unsent(" ".join(reasons), others_are_reached=works)


def _mail_of(
    message: Message, settings: NotificationSettings, message_id: str, recipient: str
) -> "EmailMultiAlternatives":
    """Return a mail that one recipient gets, and that names all."""
    from django.core.mail import EmailMultiAlternatives, get_connection  # noqa: PLC0415

    connection: Any = get_connection()
    if getattr(connection, "timeout", MAIL_TIMEOUT_SECONDS) is None:
        connection.timeout = MAIL_TIMEOUT_SECONDS
    domain = (settings.sender or settings.recipients[0]).rpartition("@")[2]
    mail = EmailMultiAlternatives(
        subject=" ".join(message.subject.split()),
        body=message.text,
        from_email=settings.sender or None,
        to=[recipient],
        # Not answered by robots on holiday (RFC 3834).
        headers={
            "To": ", ".join(settings.recipients),
            "Message-ID": f"<{message_id}@{domain}>",
            "Auto-Submitted": "auto-generated",
        },
        connection=connection,
    )
    if message.html:
        mail.attach_alternative(message.html, "text/html")
        for name, picture in message.pictures.items():
            mail.attach(_picture(name, picture))
    return mail


def _picture(name: str, content: bytes) -> MIMEImage:
    image = MIMEImage(content, "png")
    image.add_header("Content-ID", f"<{name}>")
    image.add_header("Content-Disposition", "inline", filename=f"{name}.png")
    return image


def _words(error: Exception) -> str:
    code, said = getattr(error, "smtp_code", ""), getattr(error, "smtp_error", None)
    if isinstance(error, SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
    if isinstance(said, bytes):
        return f"The mail server said {code} {said.decode(errors='replace')}".strip()
    words = " ".join(str(error).split()) or type(error).__name__
    return f"The mail server cannot be used: {words}"


def _apprise(
    message: Message, channel: str, settings: NotificationSettings, receipts: Receipts
) -> None:
    try:
        import apprise  # noqa: PLC0415 - optional, and of some size
    except ImportError:
        raise Unsent(
            'Apprise is not installed: pip install "celery-maintenance[apprise]".'
        ) from None
    try:
        url = settings.apprise_url(channel)
    except ConfigurationError as error:
        raise Unsent(str(error)) from None
    try:
        _notify(apprise, url, message, receipts)
    except (Unsent, SoftTimeLimitExceeded, LedgerError):
        raise
    except Exception as error:  # noqa: BLE001 - of some plugin; its words may hold the URL
        raise Unsent(f"Apprise failed with {type(error).__name__}.") from None


def _notify(apprise: Any, url: str, message: Message, receipts: Receipts) -> None:
    """Send to each address behind a URL by itself: of all at once, Apprise says only whether all took it."""
    taken_before = len(receipts)
    faults = []
    with _silent_apprise():
        sender = apprise.Apprise()
        if not sender.add(url):
            raise Unsent("The URL behind it is none that Apprise knows.")
        addresses = list(_addresses(sender))
        for number, (name, plugin) in enumerate(addresses, start=1):
            if name in receipts:
                continue
            one = apprise.Apprise()
            one.add(plugin)
            with soft_limit_goes_through():
                taken = one.notify(
                    title=" ".join(message.subject.split()),
                    body=message.text[:MOST_APPRISE_CHARACTERS],
                    body_format=apprise.NotifyFormat.TEXT,
                )
            if taken:
                receipts.add(name)
            else:
                faults.append(f"address {number} ({plugin.service_name})")
    if faults:
        to = f" to {', '.join(faults)} of {len(addresses)}" if len(addresses) > 1 else ""
        raise Unsent(
            f"Apprise could not deliver it{to}; its service did not take the message.",
            others_are_reached=len(receipts) > taken_before or taken_before > 0,
        )


def _addresses(sender: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the plugins behind a URL, one for each address, by names that are the same at each attempt.

    A name is a digest with the site's key, since what it stands for is a secret.
    """
    met: Counter[str] = Counter()
    for server in sender:
        for plugin in _apart(server):
            url = plugin.url()
            met[url] += 1
            digest = salted_hmac("maintenance.notifications", f"{met[url]} {url}")
            yield digest.hexdigest()[:16], plugin


def _apart(server: Any) -> list[Any]:
    """Return a plugin of Apprise once for each of its addresses; as it is where they cannot be told apart.

    They lie in a list whose name each plugin chooses. It is the one that its own count of messages and its
    own URL go by.
    """
    of_one = getattr(server, "retry", 0) + 1
    for name, values in vars(server).items():
        if isinstance(values, list) and len(values) > 1 and len(server) == of_one * len(values):
            parts = [copy(server) for _ in values]
            for part, value in zip(parts, values, strict=True):
                setattr(part, name, [value])
            if {len(part) for part in parts} == {of_one} and (
                len({part.url() for part in parts}) == len(parts)
            ):
                return parts
    return [server]


@contextmanager
def _silent_apprise() -> Iterator[None]:
    """Let Apprise log nothing meanwhile: its lines name URLs, which are secrets."""
    logger = logging.getLogger("apprise")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
