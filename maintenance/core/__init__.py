"""The vocabulary, which is pure and imported by every subject, and in its packages the engine.

Engine, for tasks, admin and commands alone: ``runs`` (one run, from the wish to its report),
``scheduling`` (what is due, and the scheduler that leads), ``evidence`` (what was due beside what happened, and
who is alive), ``attention`` (what needs a person).
"""
