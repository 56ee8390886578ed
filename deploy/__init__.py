"""How the service is run elsewhere: one table of its programs, and what is written from it."""
