"""Who on a channel has taken a message. The server has the default for processes of an older release."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('maintenance', '0013_first_attempt'),
    ]

    operations = [
        migrations.AddField(
            model_name='notification',
            name='taken_by',
            field=models.JSONField(
                blank=True,
                db_default=models.Value([], models.JSONField()),
                default=list,
                verbose_name='taken by',
            ),
        ),
    ]
