"""Campaigns that try to break a run: ``make torture``.

Each makes many random cases from a seed, judges every one of them, and says how many ended how.
What must never happen is a *finding*. The figures of docs/reliability.md come from here.
"""
