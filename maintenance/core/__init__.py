"""The vocabulary and the engine.

Pure vocabulary, importable from every subject: ``findings``, ``plans``, ``reports``, ``job``,
``options``, ``errors``, ``redaction``, ``suggestions``, ``backoff``, ``wording``.

The engine, importable only from tasks, admin and management commands: ``registry``, ``task``,
``runner``, ``ledger``, ``limits``, ``scheduler``.
"""
