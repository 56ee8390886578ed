-- How many sessions the server takes, how many of them it keeps for superusers and (16+) for members
-- of pg_use_reserved_connections, and who asks.
SELECT
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int
        + current_setting('reserved_connections')::int  -- if >= 16
    AS reserved_connections,
    current_setting('superuser_reserved_connections')::int AS superuser_reserved_connections,
    quote_ident(current_user) AS role_name
