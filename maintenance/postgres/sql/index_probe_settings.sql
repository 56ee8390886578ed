-- Makes the planner look up single keys by index, and ends what takes longer than it should.
SELECT
    set_config('enable_seqscan', %(scans)s, false),
    set_config('enable_bitmapscan', %(scans)s, false),
    set_config('statement_timeout', %(milliseconds)s::int::text, false)
