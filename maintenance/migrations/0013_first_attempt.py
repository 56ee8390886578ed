"""When a message was first tried to be sent: from then on it is given a day."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('maintenance', '0012_defaults_for_older_processes'),
    ]

    operations = [
        migrations.AddField(
            model_name='notification',
            name='first_attempt_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='first attempt'),
        ),
    ]
