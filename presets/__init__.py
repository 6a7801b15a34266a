"""Data read by the bridge: presets and the prompt vocabulary (TOML)."""
