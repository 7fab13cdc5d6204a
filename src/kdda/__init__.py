"""kdda: monolingual teachers, one multilingual student, by optimal transport while the student is fine-tuned.

Rooms are imported by name (`kdda.transport`, `kdda.models`, …), so that one of them alone costs only what it needs.
"""
