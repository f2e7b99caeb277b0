"""Loads tunebench's plugin, so that `pytest suites/` knows its options from any directory."""

pytest_plugins = ["harness.plugin"]
