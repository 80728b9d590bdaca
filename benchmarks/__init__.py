"""How fast, beside what is possible and beside what a user would do instead. See README.md."""
