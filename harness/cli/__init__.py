"""What needs no pytest session: `python -m harness COMMAND`, one file a group of commands."""
