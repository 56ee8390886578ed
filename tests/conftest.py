"""What every test can use; each subject keeps its fixtures in a module of its own."""

pytest_plugins = ["tests.servers", "tests.django_database", "tests.skips", "pytester"]
