"""What the reports of both halves share: figures in one style, bars and their verdict, the page, ``summary.json``."""
