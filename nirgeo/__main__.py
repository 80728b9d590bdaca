"""``python -m nirgeo``."""

from nirgeo.cli.main import main

if __name__ == "__main__":
    main()
