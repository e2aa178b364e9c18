"""Firmware: boards, building, running in emulation and on hardware, and the link to it."""
