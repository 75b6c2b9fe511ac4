"""`python -m flows.cli` is the command `al-engine`."""

from flows.cli import main

main()
