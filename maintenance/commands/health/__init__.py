"""Health checks: is everything up that the site and its maintenance stand on?

``registry`` names them, ``servers`` looks at the site's servers, ``crew`` at our own workers,
schedules and reports.
"""
