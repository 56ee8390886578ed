"""Whether a database can be looked after: reach, version, rights, extensions, settings, clock.

``look`` measures, ``findings`` judges and names the line that mends, ``roles`` writes the roles that
have the least rights.
"""
