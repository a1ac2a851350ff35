"""What a reader is handed: pages, paper, a registry's draft, a table; each made from the record alone."""
