"""HTTP: triggers, queries, what people look at. It decides nothing."""
