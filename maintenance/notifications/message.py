"""A message as it leaves: plain text always, HTML with pictures where the channel can show them."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """``pictures`` are PNG files by the content id under which ``html`` shows them."""

    subject: str
    text: str
    html: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        pictures = {name: b64encode(content).decode() for name, content in self.pictures.items()}
        return {
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "pictures": pictures,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Message":
        """Rebuild from :meth:`to_json`."""
        pictures = {name: b64decode(content) for name, content in body["pictures"].items()}
        return cls(body["subject"], body["text"], body["html"], pictures)
