"""What every page is made of: templates, wording, drawings. Knows no run, version or look at traffic."""
