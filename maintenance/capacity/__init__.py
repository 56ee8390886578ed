"""Looking a quarter ahead: what grows towards its limit, what to scale, which targets fit.

All of it works on what earlier runs stored: no server is asked anything.
"""
