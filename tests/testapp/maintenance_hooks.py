"""What the project gives to the crew: its own tasks."""

from tests.testapp import tasks

__all__ = ["tasks"]
