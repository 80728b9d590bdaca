"""``python -m nirgeo``."""

from nirgeo.cli.main import command

if __name__ == "__main__":
    command()
