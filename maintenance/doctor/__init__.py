"""Whether all stands that maintenance stands on: every target, its rights, secrets, and our own crew.

It joins subjects and writes nothing. ``examination`` looks, each target by itself; ``redis_needs``
says which rights the configuration asks of a Redis server; ``statements`` prints roles and users
that have these rights; ``screen`` is the text for a person.
"""
