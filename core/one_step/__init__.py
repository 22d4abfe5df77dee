"""One-step generators: who plays, what each method asks of them, how they take turns."""
