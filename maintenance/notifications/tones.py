"""Colours of a mail: inline, since mail programs read no style sheet; a word stands beside each."""

#: Ink and ground by severity, as the admin's pages have them in the light; 4.5 to 1 at the least.
_TONES = {
    "critical": ("#8f1414", "#fdecec"),
    "warning": ("#714200", "#fff4df"),
    "info": ("#1f4e79", "#eaf3fb"),
    "ok": ("#1d5b2c", "#e9f6ec"),
    "unavailable": ("#4b4b4b", "#f0f0f0"),
}


def tone_of(kind: str) -> dict[str, str]:
    """Return ``ink`` and ``ground`` of a severity, or of ``unavailable``."""
    ink, ground = _TONES.get(str(kind), _TONES["unavailable"])
    return {"ink": ink, "ground": ground}
