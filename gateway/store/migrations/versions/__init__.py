"""One module for each revision of the schema, in their order."""
