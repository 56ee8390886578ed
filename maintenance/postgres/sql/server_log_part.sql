-- Bytes of one log file; null where it is gone meanwhile.
SELECT pg_read_binary_file(%(path)s, %(offset)s, %(length)s, true) AS part
