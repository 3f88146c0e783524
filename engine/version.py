"""The version of pyman, and the one of Podman whose command line it follows."""

from __future__ import annotations

VERSION = "0.1.0"
PODMAN_LEVEL = "5.8.2"
