"""Stress runs: each file is one, and the test suite runs a small share of it with the same code.

``python -m tests.stress`` runs all of them in full, ``python -m tests.stress kills --count 20`` one
of them. A file has

``COUNT``
    how many there are in a full run,
``SHARE``
    how many the suite runs, in a few seconds, and
``run(count, seed)``
    which raises an AssertionError for what must not be, and returns one line of text that says
    what was done, in figures.

Names that begin with an underscore are helpers.
"""
