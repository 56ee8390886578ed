"""What sessions and cursors of ours have beyond those of psycopg2: a marker, and what is at work."""

import re
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql

from maintenance.postgres.at_work import StatementAtWork

#: Begins every statement of ours, so that reports on slow queries can leave us out.
MARKER = "/* maintenance */"

# Our marker and the comments of a file of sql/, in front of a statement's first word.
_MARKED_START = re.compile(rf"\A{re.escape(MARKER)}\s*(?:--[^\n]*\n\s*)*(?P<word>\w+)")


class WatchedSession(psycopg2.extensions.connection):
    """A session that knows what it has at work."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.statement = StatementAtWork()


class MarkedCursor(psycopg2.extensions.cursor):
    """Puts the marker behind a statement's first word, and says what is at work.

    From 18 on pg_stat_statements keeps no comment that stands before a statement.
    """

    connection: WatchedSession

    def execute(
        self,
        query: str | bytes | sql.Composable,
        vars: Any = None,  # noqa: A002 - psycopg2's name
    ) -> None:
        """Run a statement. Raises what it was cancelled for, where that came from beside."""
        text = query.as_string(self.connection) if isinstance(query, sql.Composable) else query
        if isinstance(text, str):
            text = _MARKED_START.sub(rf"\g<word> {MARKER}", text)
        statement = self.connection.statement
        statement.begin()
        try:
            super().execute(text, vars)
        except psycopg2.errors.QueryCanceled:
            if statement.reason is not None:
                raise statement.reason from None
            raise
        finally:
            statement.end()
