"""Networks and weights; knows imaging only."""
