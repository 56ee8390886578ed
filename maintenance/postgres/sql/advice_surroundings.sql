-- What decides how statements of this database are read, and which extensions are at hand. The
-- search path of the database goes before the server's; one that sessions set for themselves is
-- not visible.
SELECT
    coalesce(
        (
            SELECT substr(c.entry, length('search_path=') + 1)
            FROM pg_db_role_setting AS s
            CROSS JOIN unnest(s.setconfig) AS c (entry)
            WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND s.setrole = 0
                AND c.entry ^@ 'search_path='
        ),
        (SELECT reset_val FROM pg_settings WHERE name = 'search_path')
    ) AS search_path,
    regexp_replace(current_setting('default_text_search_config'), '^pg_catalog\.', '')
        AS text_search_configuration,
    (
        SELECT quote_ident(n.nspname)
        FROM pg_extension AS e
        JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_trgm'
    ) AS trigram_schema,
    (
        SELECT n.nspname
        FROM pg_extension AS e
        JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'hypopg'
    ) AS hypopg_schema
