"""Components of the category filter."""
