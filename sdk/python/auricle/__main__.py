"""`python -m auricle` is the `auricle` command."""

from auricle.cli import main

main()
