"""From the addresses of a site's servers to a configuration for it: looked at, matched, proposed.

It joins subjects and writes nothing to a server. ``addresses`` are read and get their references,
``look`` sees tables, kinds of keys and queues, ``caches`` (pure) tells keys of caches from others,
``fit`` (pure) says which preset knows such a site, ``proposal`` (pure) is the file with a reason for
each line.
"""
