"""The ledger is one database: a router that leads it elsewhere is refused at the start."""

from django.test import override_settings

from maintenance.checks import check_configuration


class LedgerElsewhere:
    """A router that leads the crew's models to another alias."""

    def db_for_read(self, model: type, **_hints: object) -> str | None:
        return "other" if model._meta.app_label == "maintenance" else None

    db_for_write = db_for_read


class SiteElsewhere:
    """A router that leads the site's own models away, and leaves the crew's alone."""

    def db_for_read(self, model: type, **_hints: object) -> str | None:
        return "other" if model._meta.app_label == "testapp" else None

    db_for_write = db_for_read


def faults_with(router: type) -> list[str]:
    with override_settings(DATABASE_ROUTERS=[router()]):
        return [str(fault.id) for fault in check_configuration(None)]


def test_a_router_that_leads_the_ledger_away_is_refused() -> None:
    assert faults_with(LedgerElsewhere) == ["maintenance.E009"]


def test_a_router_of_the_sites_own_models_is_none_of_our_business() -> None:
    assert faults_with(SiteElsewhere) == []
