"""The words of the reports: facts in, sentences out. Loads neither numpy nor a template engine."""
