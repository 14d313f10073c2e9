"""Is any version in constraints.txt known to be vulnerable? Asks the public databases by pip-audit.

    python -m deploy.audit PIP_AUDIT

Exit status: 0 none is; 1 some are; 3 nobody could be asked.
"""

import json
import subprocess
import sys
from typing import Any

FOUND, NOT_ASKED = 1, 3
ARGUMENTS = (
    "--requirement", "constraints.txt", "--no-deps", "--disable-pip",
    "--format", "json", "--progress-spinner", "off", "--timeout", "30",
)  # fmt: skip


def audit(program: str) -> tuple[int, str]:
    """Exit status, and what to say."""
    done = subprocess.run([program, *ARGUMENTS], capture_output=True, text=True)
    try:
        looked_at = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_ASKED, (
            "audit: nothing was audited, since the databases of vulnerabilities could not be asked"
            f" from here. Run it on a network that lets pip-audit reach them. It said: {last[:300]}"
        )
    lines = [*_vulnerable(looked_at), *_skipped(looked_at)]
    if lines:
        return FOUND, "\n".join(lines)
    return 0, f"audit: {len(looked_at)} pinned distributions, none known to be vulnerable"


def _vulnerable(looked_at: list[dict[str, Any]]) -> list[str]:
    return [
        f"{one['name']} {one['version']}: {found['id']}, mended in"
        f" {', '.join(found['fix_versions']) or 'no version yet'}"
        for one in looked_at
        for found in one.get("vulns", [])
    ]


def _skipped(looked_at: list[dict[str, Any]]) -> list[str]:
    return [f"{one['name']}: {one['skip_reason']}" for one in looked_at if "skip_reason" in one]


if __name__ == "__main__":
    status, text = audit(sys.argv[1])
    print(text, file=sys.stderr if status else sys.stdout)
    sys.exit(status)
