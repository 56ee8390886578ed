"""Who is connected, how long they have been at it, and who blocks whom."""
