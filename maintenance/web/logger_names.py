"""The names of the guide's LOGGING: of the middleware, and of what profiles elsewhere."""

REQUEST_LOGGER = "bookwyrm.middleware.query_profiler"
TASK_LOGGER = "bookwyrm.utils.performance"
