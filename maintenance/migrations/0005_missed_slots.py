from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('maintenance', '0004_slots_and_policies'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='stands_for',
            field=models.PositiveIntegerField(default=1, help_text='How many slots of its schedule: missed ones, too.', verbose_name='stands for'),
        ),
        migrations.AlterField(
            model_name='run',
            name='queue',
            field=models.CharField(max_length=200, verbose_name='queue'),
        ),
        migrations.AlterField(
            model_name='run',
            name='task',
            field=models.CharField(db_index=True, max_length=200, verbose_name='task'),
        ),
    ]
