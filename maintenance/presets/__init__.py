"""Sites whose settings are known: one TOML file each, read by :mod:`maintenance.conf.presets`."""
