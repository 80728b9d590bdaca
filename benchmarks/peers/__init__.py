"""What a user would do instead, with the same network on the same scene."""
