"""What a de-identification did: counted, hashed, and shown on a page. Nothing in it names a patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from claimed_med.dicom.deid_profile import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claimed_med.dicom.deid_profile import Profile


@dataclass
class Outcome:
    """What became of one file.

    Attributes:
        file: Keyed hash of its content: who holds the secret and the file can find it here.
        name: Name of the new file, or '' when it was refused.
        error: Class of the error, or ''.
        text: Its text.
        counts: (keyword, action) -> how often.
        looked: Why its pixels were looked at for burned-in text, or ''.
        n_regions: Regions of burned-in text that were blacked out.
    """

    file: str
    name: str = ""
    error: str = ""
    text: str = ""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    looked: str = ""
    n_regions: int = 0


def report(profile: Profile, outcomes: Iterable[Outcome], *, secret_is_short: bool) -> dict[str, Any]:
    """The audit of one patient as JSON-ready values."""
    listed = sorted(outcomes, key=lambda one: one.file)
    total: Counter[tuple[str, str]] = Counter()
    for one in listed:
        total += one.counts
    actions: dict[str, dict[str, int]] = {}
    for (keyword, action), count in sorted(total.items()):
        actions.setdefault(keyword, {})[action] = count
    refused = [one for one in listed if not one.name]
    return {
        "profile": profile.as_dict(),
        "n_files": len(listed),
        "n_deidentified": len(listed) - len(refused),
        "n_refused": len(refused),
        "refused": [{"file": one.file, "error": one.error, "text": one.text} for one in refused],
        "actions": actions,
        "pixels": {
            "n_looked": sum(bool(one.looked) for one in listed),
            "reasons": dict(sorted(Counter(one.looked for one in listed if one.looked).items())),
            "n_regions_blacked_out": sum(one.n_regions for one in listed),
            "n_changed": sum(one.n_regions > 0 for one in listed),
        },
        "warnings": ["the secret is shorter than 16 bytes: use a longer one"] if secret_is_short else [],
    }


def page(audit: dict[str, Any]) -> str:
    """The audit as a page that needs no other file."""
    profile, pixels = audit["profile"], audit["pixels"]
    facts = [
        ("Profile", f"{profile['name']}, PS3.15 {profile['edition']}"),
        ("Options", ", ".join(profile["options"]) or "none"),
        ("Files", f"{audit['n_files']}: {audit['n_deidentified']} de-identified, {audit['n_refused']} refused"),
        ("Pixels looked at", f"{pixels['n_looked']} files; {pixels['n_regions_blacked_out']} regions blacked out"),
        *(("Warning", one) for one in audit["warnings"]),
    ]
    head = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts)
    rows = "".join(
        f"<tr><td>{escape(keyword)}</td><td>{escape(ACTIONS.get(action, action))}</td><td>{count}</td></tr>"
        for keyword, counts in audit["actions"].items()
        for action, count in counts.items()
    )
    refused = "".join(
        f"<tr><td>{escape(one['file'])}</td><td>{escape(one['text'])}</td></tr>" for one in audit["refused"]
    )
    left = f"<h2>Refused files</h2><table>{refused}</table>" if refused else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>De-identification</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem"
        ";margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
        "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #8886}"
        "</style></head><body><h1>De-identification</h1>"
        f"<table>{head}</table>{left}<h2>What was done to which attribute</h2>"
        f"<table><thead><tr><th>Attribute</th><th>Action</th><th>How often</th></tr></thead>"
        f"{rows}</table></body></html>"
    )
