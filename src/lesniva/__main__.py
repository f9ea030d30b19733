"""``python -m lesniva``: the command line, where its script is not on the path."""

from lesniva.cli import main

if __name__ == "__main__":
    main()
