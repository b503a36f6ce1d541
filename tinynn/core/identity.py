"""Check that the package `tinynn` that Python found is this one.

Another project's distribution is named ``tinynn`` and installs a package of the same name into the
same folder. If both were installed, files of one may have replaced files of the other.
"""

import sys

__all__: list[str] = []

_package = sys.modules["tinynn"]
if getattr(_package, "__distribution__", None) != "tinynn-numpy":
    raise ImportError(
        f"the package 'tinynn' that Python found ({getattr(_package, '__file__', None)}) belongs "
        "to another project, whose distribution is named 'tinynn'; ours is named 'tinynn-numpy'. "
        "fix: pip uninstall tinynn tinynn-numpy, then pip install tinynn-numpy"
    )
