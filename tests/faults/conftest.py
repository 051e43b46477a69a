"""Every test here may count what it tried."""

from faults.counted import counted

__all__ = ["counted"]
