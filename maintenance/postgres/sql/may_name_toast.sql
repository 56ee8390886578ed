-- Whether TOAST tables can be named in a statement: their owner alone may not.
SELECT has_schema_privilege('pg_toast', 'USAGE') AS may_name_toast
