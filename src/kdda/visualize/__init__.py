"""Figures of what was learned: transport plans, and files of figures from run folders."""
