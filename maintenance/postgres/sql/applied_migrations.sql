-- The migrations that Django has applied here.
SELECT app, name FROM {schema}.{table} ORDER BY id
