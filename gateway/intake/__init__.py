"""Who asks what: caller, picture and body, checked before anything is spent."""
