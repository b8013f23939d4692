"""`python -m tabellion` is the `tabellion` command."""

from tabellion.app.cli import main

if __name__ == "__main__":
    main()
