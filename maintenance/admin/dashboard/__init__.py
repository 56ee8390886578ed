"""The page that says whether all is well: verdicts, targets, what ran, runs, waits and needs a person.

``ledger_look`` reads, in a number of queries that does not grow with the history; ``areas``,
``verdicts``, ``key_metrics`` and ``sparkline`` judge and draw, without a database; ``page`` puts them
together for the template.
"""
