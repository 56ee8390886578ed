"""What the management commands share: arguments, target choice, exit codes, rendering.

The commands themselves stand in ``maintenance/management/commands`` and are thin.
"""
