"""A table without its children, in the statements that take them as well."""


def only(server_major: int) -> str:
    """Return what stands before the name of a table that VACUUM or ANALYZE is to take alone.

    Before 18 they take nothing else, but for ANALYZE of a partitioned table. From 18 on a parent stands
    for all that inherit from it, unless it is named with ONLY (PostgreSQL documentation, VACUUM and
    ANALYZE, "Compatibility"; release notes of 18). Statistics of the whole are made all the same.
    """
    return "ONLY " if server_major >= 18 else ""
