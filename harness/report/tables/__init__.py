"""Markdown tables of a report."""
