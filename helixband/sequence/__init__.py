"""Biological sequences: alphabets and FASTA files."""
