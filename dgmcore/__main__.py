"""`python -m dgmcore` is `dgm`; needed where a launcher such as torchrun wants a module."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the current folder, which `-m` puts there: what is in it is data

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
