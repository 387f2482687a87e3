"""Have we answered this before, or are we answering it right now?"""
