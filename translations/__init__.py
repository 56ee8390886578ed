"""Catalogues of translations: what is marked is collected, merged and compiled, without gettext's programs."""
