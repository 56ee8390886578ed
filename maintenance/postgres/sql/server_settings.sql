-- The server's settings as a new session starts with them: what this one has set is left out.
-- Without pg_read_all_settings some rows, and the files, are hidden.
-- A reload marks a setting of the command line as pending wherever a file has another value for it,
-- and forgets it no more; after a restart the command line goes before the file again.
SELECT
    name,
    reset_val AS value,
    unit,
    vartype AS kind,
    context,
    source,
    sourcefile AS source_file,
    boot_val AS default,
    pending_restart AND source <> 'command line' AS is_pending
FROM pg_settings
WHERE reset_val IS NOT NULL
