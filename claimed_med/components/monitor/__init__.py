"""Components of the category monitor."""
