"""An ordinary Django project that adds ``maintenance`` to its own: what embedding looks like."""
