"""Components of the category metric."""
