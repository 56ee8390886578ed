"""A mail server that takes mail by SMTP and keeps it, or refuses it."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer:
    """Listens on a free port of this machine.

    ``refusal`` is what it answers to every mail, if not empty; ``refused`` what it answers to recipients.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.senders: list[str] = []
        self.recipients: list[str] = []
        self.refusal = ""
        self.refused: dict[str, str] = {}
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.mail_server = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    mail_server: MailServer


class _Conversation(socketserver.StreamRequestHandler):
    """RFC 5321, as much of it as Python's client says."""

    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        kept = self.server.mail_server
        kept.connections += 1
        self._say("220 tests")
        while line := self.rfile.readline():
            verb = line.strip().split(b" ")[0].upper()
            if verb in {b"EHLO", b"HELO"}:
                self._say("250 tests")
            elif verb == b"MAIL":
                kept.senders.append(line.decode().strip())
                self._say(kept.refusal or "250 ok")
            elif verb == b"RCPT":
                recipient = line.decode().partition("<")[2].partition(">")[0]
                answer = kept.refused.get(recipient, "250 ok")
                if answer.startswith("250"):
                    kept.recipients.append(recipient)
                self._say(answer)
            elif verb == b"DATA":
                self._say("354 go on")
                kept.mails.append(self._mail())
                self._say("250 kept")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _mail(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line[1:] if line.startswith(b"..") else line)
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server."""
    server = MailServer()
    try:
        yield server
    finally:
        server.close()
