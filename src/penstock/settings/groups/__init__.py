"""The settings by what they are about, a module for each. `table` puts them together."""
