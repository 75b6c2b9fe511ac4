"""The store: records in, records out, on SQLite or PostgreSQL; the only memory of a campaign."""
