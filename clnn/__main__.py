"""``python -m clnn``: the command line."""

from clnn.cli.main import main

if __name__ == "__main__":
    main()
