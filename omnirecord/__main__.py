"""`python -m omnirecord`."""

from .cli import main

main(prog_name="omnirecord")
