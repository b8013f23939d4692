"""Rows of CSV and JSON lines, wherever they come from: read one by one, and made durable many at once."""
