"""What the bloat reports can be asked."""

from dataclasses import dataclass

#: Pages read first: of a table whose pages are alike they leave a doubt of one point.
FIRST_SAMPLE_PAGES = 200

#: What plans draw pages by: the same ones each time, so that a run does what the dry run before it said.
PLAN_SEED = 1


@dataclass(frozen=True, slots=True)
class TableBloatOptions:
    """``sample_pages`` are read first of each table; ``seed`` repeats a choice of pages.

    ``tables`` limits the report to tables by name, whatever their size. ``exact`` counts the rows
    of these, or of the largest ones, by reading them whole (extension pgstattuple), for at most
    ``exact_time_limit_seconds`` in all.
    """

    sample_pages: int = FIRST_SAMPLE_PAGES
    seed: int | None = None
    tables: tuple[str, ...] = ()
    exact: bool = False
    exact_time_limit_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class IndexBloatOptions:
    """``indexes`` limits the report to indexes by name, whatever their size.

    ``exact`` reads these, or the largest btrees, whole (extension pgstattuple), for at most
    ``exact_time_limit_seconds`` in all. ``seed`` repeats a choice of pages.
    """

    indexes: tuple[str, ...] = ()
    seed: int | None = None
    exact: bool = False
    exact_time_limit_seconds: float = 600.0
