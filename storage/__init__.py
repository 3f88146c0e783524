"""Bytes and records that outlive a command."""
