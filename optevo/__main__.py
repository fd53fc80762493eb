"""`python -m optevo` is the command line."""

from optevo.cli.main import main

if __name__ == "__main__":
    main()
