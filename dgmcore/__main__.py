"""`python -m dgmcore` is `dgm`; needed where a launcher such as torchrun wants a module."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
