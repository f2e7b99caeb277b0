"""The only package that knows the order of the stages: session, worker process, assembly."""
