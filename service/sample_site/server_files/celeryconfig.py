"""How the sample site's workers are set up: a long task is delivered a second time while it works."""

task_acks_late = True
task_soft_time_limit = 7000
task_time_limit = 7200
worker_prefetch_multiplier = 1
worker_max_tasks_per_child = 200
