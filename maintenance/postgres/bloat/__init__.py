"""How much of tables and indexes a rewrite would give back."""
