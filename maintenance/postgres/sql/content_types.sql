-- Django's own list of models, by the number that generic foreign keys refer to.
SELECT id, app_label || '.' || model AS label FROM {schema}.{table} ORDER BY id
