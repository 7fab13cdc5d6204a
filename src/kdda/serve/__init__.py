"""Models over HTTP: predictions, a page, and limits that hold under load (`kdda serve`)."""
