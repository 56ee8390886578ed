"""What the server's own log says that maintenance did: the witness against our reports."""

from pathlib import Path

from psycopg2 import sql

from service.embedded.postgres import EmbeddedPostgres
from tests.postgres_clients import ask

CHANGES = {"REINDEX", "DROP", "ANALYZE", "VACUUM", "ALTER", "CREATE"}


def log_every_statement(url: str) -> None:
    """Have the server log what later sessions on this database send."""
    database = sql.Identifier(database_of(url))
    ask(url, sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(database))


def database_of(url: str) -> str:
    """Return the name of the database of a URL."""
    return url.rpartition("/")[2].partition("?")[0]


def logged_changes(server: EmbeddedPostgres, url: str) -> list[str]:
    """Return the statements of ours that the server's log has, other than queries and settings."""
    marker, database = "/* maintenance */ ", database_of(url)
    statements = []
    for line in Path(server.log_path).read_text(encoding="utf-8").splitlines():
        _, found, statement = line.partition("LOG:  statement: ")
        if found and f"@{database} " in line and marker in statement:
            text = statement.replace(marker, "", 1).strip()
            if text.split()[0] in CHANGES:
                statements.append(text)
    return statements
