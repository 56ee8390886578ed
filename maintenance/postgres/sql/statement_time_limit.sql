-- Limits each following statement of this session.
SELECT set_config('statement_timeout', %(milliseconds)s::int::text, false)
