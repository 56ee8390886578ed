"""Transactions of the ledger: whoever hangs in one holds what it has locked for half a minute at most."""

import pytest
from django.db import connection, transaction

from maintenance.core.runs.ledger_database import ABANDONED_SECONDS, ledger_transaction

pytestmark = pytest.mark.django_db(transaction=True)


def limit() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        return str(cursor.fetchone()[0])


def test_the_server_ends_one_that_is_abandoned_and_no_other() -> None:
    before = limit()
    with ledger_transaction():
        assert limit() == f"{ABANDONED_SECONDS:.0f}s"
    assert limit() == before != f"{ABANDONED_SECONDS:.0f}s"


def test_a_transaction_of_the_site_s_own_is_left_as_it_is() -> None:
    before = limit()
    with transaction.atomic():
        with ledger_transaction():
            assert limit() == before
        assert limit() == before
