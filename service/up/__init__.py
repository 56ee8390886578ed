"""One terminal for the whole service: servers, workers, beat, web and Flower under one supervisor.

``session`` tells the order of events; every other module does one part of it. Modules that need
Django's models or ``rich`` are imported late, so that refusals come fast.
"""
