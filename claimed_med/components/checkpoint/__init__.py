"""Components of the category predict."""
