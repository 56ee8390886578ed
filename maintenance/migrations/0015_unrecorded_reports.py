"""What is kept outside of the ledger is completed where a worker could not. Reports of before count as complete."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('maintenance', '0014_taken_by'),
    ]

    operations = [
        migrations.AddField(
            model_name='storedreport',
            name='record_due_at',
            field=models.DateTimeField(
                blank=True,
                help_text='From when on any worker writes its files; empty where nothing is missing.',
                null=True,
                verbose_name='record due',
            ),
        ),
        migrations.AddField(
            model_name='storedreport',
            name='told_at',
            field=models.DateTimeField(
                blank=True,
                help_text='Its JSON line is written, pings are sent.',
                null=True,
                verbose_name='told at',
            ),
        ),
        migrations.AddIndex(
            model_name='storedreport',
            index=models.Index(
                condition=models.Q(('record_due_at__isnull', False)),
                fields=['record_due_at'],
                name='maintenance_reports_unrecorded',
            ),
        ),
    ]
