-- How many sessions the server takes, and who asks.
SELECT
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int
        + current_setting('reserved_connections')::int  -- if >= 16
    AS reserved_connections,
    quote_ident(current_user) AS role_name
