"""Renderings of a report, their comparison, and the log store that keeps them.

Everything here is pure: a report and its run come in as frozen dataclasses, text goes out. The
one place that touches the outside is :mod:`~maintenance.reports.log_store`, through Django's
storage API. Start at :mod:`maintenance.reports.formats`.
"""
