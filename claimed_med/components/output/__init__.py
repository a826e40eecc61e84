"""Components of the category output."""
