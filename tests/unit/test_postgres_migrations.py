"""Which migrations wait, with squashed ones among them."""

from django.db.migrations import Migration

from maintenance.postgres.integrity.migrations import compare

APPS = {"shop"}


def migration(name: str, *replaces: str) -> Migration:
    made = Migration(name, "shop")
    made.replaces = [("shop", replaced) for replaced in replaces]
    return made


def state(files: list[Migration], applied: list[str]) -> tuple[list[str], list[str]]:
    found = compare(
        {(m.app_label, m.name): m for m in files}, [("shop", name) for name in applied], APPS
    )
    return [name for _app, name in found.waiting], [name for _app, name in found.unknown]


def test_what_is_not_applied_waits() -> None:
    files = [migration("0001"), migration("0002"), migration("0003")]
    assert state(files, ["0001"]) == (["0002", "0003"], [])
    assert state(files, ["0001", "0002", "0003"]) == ([], [])


def test_a_squashed_migration_waits_only_while_something_of_it_is_missing() -> None:
    files = [migration("0001"), migration("0002"), migration("0001_to_0002", "0001", "0002")]
    assert state(files, ["0001", "0002"]) == ([], [])
    assert state(files, ["0001_to_0002"]) == ([], [])
    assert state(files, ["0001"]) == (["0001_to_0002"], [])
    assert state(files, []) == (["0001_to_0002"], [])


def test_files_that_a_squashed_migration_replaced_need_not_exist() -> None:
    files = [migration("0001_to_0002", "0001", "0002")]
    assert state(files, ["0001", "0002", "0001_to_0002"]) == ([], [])


def test_applied_migrations_without_a_file_are_unknown() -> None:
    assert state([migration("0001")], ["0001", "0002"]) == ([], ["0002"])


def test_apps_that_are_not_installed_are_nobodys_business() -> None:
    found = compare({}, [("other", "0001")], APPS)
    assert found.unknown == ()
