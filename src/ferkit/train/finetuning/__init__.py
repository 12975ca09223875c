"""Fine-tuning: one's own labelled photos in, weights that every command accepts out."""
