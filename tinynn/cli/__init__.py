"""The command line: ``tinynn train | predict | evaluate | export``, and what they share.

`tinynn.__main__` is where it begins.
"""

__all__: list[str] = []  # these are programs, not functions for users
