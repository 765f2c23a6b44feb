"""Carries events between the parts."""
