"""Drafts of recipes: files are looked at, task, languages, splits and labels are guessed, and a recipe is written."""
