-- How fast this session's VACUUM and ANALYZE may work.
SELECT
    set_config('vacuum_cost_delay', %(vacuum_cost_delay)s, false),
    set_config('vacuum_cost_limit', %(vacuum_cost_limit)s, false)
