"""What makes the weights, pages and pictures of this repository."""
