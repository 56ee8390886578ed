"""Three roles as groups: who looks, who runs and pauses, who may do what can harm.

A group of this name that is there already stays as it is, and so do people's edits later on.
"""

from django.apps import apps
from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from maintenance.migrations._group_operations import ChangeGroups

_VIEWER = (
    'maintenance.view_run',
    'maintenance.view_storedfinding',
    'maintenance.view_schedulerow',
    'maintenance.view_schedulepolicy',
    'maintenance.view_blackout',
    'maintenance.view_acceptedtarget',
)
_OPERATOR = (
    *_VIEWER,
    'maintenance.run_reading_task',
    'maintenance.run_writing_task',
    'maintenance.cancel_run',
    'maintenance.change_schedulerow',
    'maintenance.add_blackout',
    'maintenance.change_blackout',
    'maintenance.delete_blackout',
)
_ADMINISTRATOR = (
    *_OPERATOR,
    'maintenance.run_dangerous_task',
    'maintenance.add_schedulepolicy',
    'maintenance.change_schedulepolicy',
    'maintenance.delete_schedulepolicy',
    'maintenance.add_acceptedtarget',
    'maintenance.delete_acceptedtarget',
    'django_celery_beat.view_periodictask',
    'django_celery_beat.add_periodictask',
    'django_celery_beat.change_periodictask',
    'django_celery_beat.delete_periodictask',
    'django_celery_beat.view_crontabschedule',
    'django_celery_beat.add_crontabschedule',
    'django_celery_beat.change_crontabschedule',
)
ROLES = {
    'Maintenance viewer': _VIEWER,
    'Maintenance operator': _OPERATOR,
    'Maintenance administrator': _ADMINISTRATOR,
}


def _make_roles(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    from django.contrib.auth.management import create_permissions

    # Django makes permissions after all migrations only: at the first one there are none yet.
    for label in ('maintenance', 'django_celery_beat'):
        app = apps.get_app_config(label)
        known = getattr(app, 'models_module', None)
        setattr(app, 'models_module', known or True)  # without one there would be nothing to do
        create_permissions(app, verbosity=0, using=schema_editor.connection.alias, apps=apps)
        setattr(app, 'models_module', known)
    groups = apps.get_model('auth', 'Group').objects.using(schema_editor.connection.alias)
    permissions = apps.get_model('auth', 'Permission').objects.using(schema_editor.connection.alias)
    for name, wanted in ROLES.items():
        group, is_new = groups.get_or_create(name=name)
        if not is_new:
            continue
        for each in wanted:
            label, codename = each.split('.')
            group.permissions.add(
                permissions.get(content_type__app_label=label, codename=codename)
            )


def _keep_roles(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """People may be in them: going back takes nothing from anybody."""


class Migration(migrations.Migration):

    dependencies = [
        ('maintenance', '0006_accepted_targets'),
        *(
            [('auth', '0012_alter_user_first_name_max_length')]
            if apps.is_installed('django.contrib.auth')
            else []
        ),
    ]

    operations = (
        [ChangeGroups(_make_roles, _keep_roles)]
        if apps.is_installed('django.contrib.auth')
        else []
    )
