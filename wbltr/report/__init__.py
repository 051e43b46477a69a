"""Artifacts as rows for people: derived, never stored."""
