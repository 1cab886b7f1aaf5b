"""`python -m trimtab`, the same as the command `trimtab`."""

from trimtab.app.cli import main

if __name__ == "__main__":
    main()
