"""How every repair works on a database: own sessions, a watch over them, and no harm to others."""
