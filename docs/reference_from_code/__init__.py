"""The reference of the documentation, written from the code that it is about: one page a subject."""
