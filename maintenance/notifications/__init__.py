"""What people are told: digests, and alarms at once, by mail and through Apprise.

``core/attention/alarm_messages.py`` writes messages in the transaction that says why; this package puts them into words and
sends them, from a task of its own.
"""
