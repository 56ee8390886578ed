from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('maintenance', '0007_roles'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='progress_since',
            field=models.DateTimeField(blank=True, help_text='Where the count of what is done began: its rate is told from there.', null=True, verbose_name='counted since'),
        ),
        migrations.AddField(
            model_name='run',
            name='progress_from',
            field=models.BigIntegerField(blank=True, help_text='What was done already when the count began.', null=True, verbose_name='counted from'),
        ),
    ]
