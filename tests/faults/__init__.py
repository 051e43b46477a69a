"""The store and the command line under faults: one file a row of the table that `counted.py` prints."""
