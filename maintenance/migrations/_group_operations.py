"""Operations on groups and their permissions, which need not lie where the ledger does."""

from typing import Any

from django.db import migrations, router


class ChangeGroups(migrations.RunPython):
    """``RunPython`` in each database where the project's routers have groups, the ledger's or another one."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        """Call the code where groups are; Django's own asks the routers for the app of the migration."""
        from_state.clear_delayed_apps_cache()
        if router.allow_migrate(schema_editor.connection.alias, 'auth', model_name='group'):
            self.code(from_state.apps, schema_editor)
