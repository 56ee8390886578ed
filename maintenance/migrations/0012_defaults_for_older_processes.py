"""Defaults of the server for columns that processes of an older release do not write.

Django takes the default of a new column away again, so that an older beat, which goes on during an upgrade
or comes back after one, could not record a run.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('maintenance', '0011_cancel_actor'),
    ]

    operations = [
        migrations.AlterField(
            model_name='run',
            name='resource',
            field=models.CharField(
                blank=True,
                db_default='',
                default='',
                help_text='What of its target it has to itself while it runs; empty where it shares.',
                max_length=100,
                verbose_name='resource',
            ),
        ),
        migrations.AlterField(
            model_name='run',
            name='stands_for',
            field=models.PositiveIntegerField(
                db_default=1,
                default=1,
                help_text='How many slots of its schedule: missed ones, too.',
                verbose_name='stands for',
            ),
        ),
        migrations.AlterField(
            model_name='run',
            name='deaths',
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text='How many workers were lost while they held it.',
                verbose_name='deaths',
            ),
        ),
    ]
