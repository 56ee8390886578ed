"""Which runs are due when: schedules, their slots and policies, and the scheduler that leads."""
