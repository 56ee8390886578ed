"""Log records as lines of a console: what is logged can begin no line that looks like another record."""

import logging
import re

#: Of a message of several lines, and of a traceback, all but the first begin so.
_CONTINUATION = "\n    "

#: Control characters but for tabs, what else ends a line somewhere, and what turns the direction of text.
_UNPRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class ConsoleLineFormatter(logging.Formatter):
    """Formats as ``fmt`` says, on lines that can be told from those of other records.

    Lines after a record's first are indented, and control characters are written out (``\\x1b``): a key,
    a target or an error of a server that holds a newline forges no record, and none moves a terminal's cursor.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record; only its first line is not indented."""
        lines = super().format(record).split("\n")
        return _CONTINUATION.join(_UNPRINTED.sub(_written_out, line) for line in lines)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
