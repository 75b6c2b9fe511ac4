"""What a person looks at: figures and text of a generation, drawn again from the store at any time."""
