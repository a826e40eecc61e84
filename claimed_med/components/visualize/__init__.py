"""Components of the category visualize."""
