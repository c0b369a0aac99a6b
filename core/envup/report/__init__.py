"""Renders events: a live terminal view, plain lines, or NDJSON. Beside `cli`, the only place that prints."""
