"""What an entry can change of the rows, by subject."""
