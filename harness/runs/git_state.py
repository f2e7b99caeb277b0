"""The state of the project's git checkout, for `run.git`.

Input: the checkout's root -> output: :class:`Git`. Dirty means tracked changes outside results/:
the published runs that a session writes must not make its next run unpublishable. Outside a git
checkout (an installed wheel), or without git, the commit is null.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.bundled import IS_CHECKOUT, PROJECT_ROOT
from harness.schema.results import Git


def git_state(root: Path = PROJECT_ROOT) -> Git:
    """Commit and dirtiness of the checkout at ``root``."""
    # A wheel may lie in an environment inside of somebody else's checkout.
    known = IS_CHECKOUT or root != PROJECT_ROOT
    commit = _git(root, "rev-parse", "HEAD") if known else None
    if commit is None:
        return Git(commit=None, dirty=False)
    changed = _git(
        root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results"
    )
    return Git(commit=commit.strip(), dirty=bool((changed or "").strip()))


def _git(root: Path, *arguments: str) -> str | None:
    # Also of a clone that is somebody else's, which git refuses: its code is running already.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
