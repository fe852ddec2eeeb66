"""What commands say: :mod:`dgmcore.output`, under the name that commands use."""

from ..output import count, emit_json, fields, heading, parse_set, progress, say, size, table, warn

__all__ = ["count", "emit_json", "fields", "heading", "parse_set", "progress", "say", "size", "table", "warn"]
