"""What a query was for, in the words of the models."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Relation(StrEnum):
    """How a query came about, as far as it matters for what spares it."""

    FOREIGN_KEY = "foreign key"  # of one object, forward: also one to one, in both directions
    REVERSE = "reverse foreign key"
    MANY_TO_MANY = "many to many"
    GENERIC = "generic foreign key"
    DEFERRED = "deferred field"
    SAVE = "save"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Lookup:
    """``model`` is the model that one starts from (``library.Book``), ``field`` what is followed.

    ``is_filtered`` says that the code filters or orders what the relation has, so that a plain
    prefetch would not serve it. ``table`` is the table of ``model``.
    """

    relation: Relation
    model: str
    field: str
    table: str
    is_filtered: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "relation": self.relation.value,
            "model": self.model,
            "field": self.field,
            "table": self.table,
            "is_filtered": self.is_filtered,
        }
