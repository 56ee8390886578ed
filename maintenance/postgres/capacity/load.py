"""How much a database holds and bears at this moment: what forecasts are made of, every hour."""

from maintenance.conf import DatabaseTarget
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample
from maintenance.core.wording import bytes_in_words
from maintenance.postgres.activity.backends import measure_activity
from maintenance.postgres.activity.connections import (
    connection_samples,
    connections_in_words,
    count_connections,
)
from maintenance.postgres.capacity.growth import DATABASE_METRIC
from maintenance.postgres.connection import connect
from maintenance.postgres.sql_files import query


def sample_database_load(job: Job[DatabaseTarget, NoOptions]) -> Report:
    """Count connections and measure size and age, and store them; nothing is judged.

    A few milliseconds of the server, and one look at the size of each of its files. Raises what
    :func:`connect` raises.
    """
    with connect(job.target, purpose="load") as conn:
        counts = count_connections(measure_activity(conn))
        size = query(conn, "database_size")[0]["database_bytes"]
        here = [row for row in query(conn, "database_ages") if row["is_here"]]
    return Report(
        title=f"Load of {job.target_name}",
        summary=f"The database has {bytes_in_words(size)}; {connections_in_words(counts)}.",
        facts={"database_bytes": size, "connections": counts.used},
        samples=(
            *connection_samples(counts),
            Sample(DATABASE_METRIC, float(size)),
            *(Sample("oldest_transaction_age", row["xid_age"]) for row in here),
        ),
    )
