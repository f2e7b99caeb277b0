"""Where the plugin keeps what its hooks and the suites' fixtures share during a pytest session."""

from __future__ import annotations

import pytest

from harness.distributed.coordinator import Team
from harness.pipeline.session import Session

SESSION = pytest.StashKey[Session]()
"""The session that the command line asked for."""

TEAM = pytest.StashKey[Team]()
"""The other ranks, on rank 0 of several."""
