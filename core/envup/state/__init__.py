"""What envup remembers beside the backends: identity of an environment, records, journal, locks.

All of it can be rebuilt from the backends but history: which steps succeeded, and what a machine was declared as.
"""
