"""Reading and writing safely: files that appear whole, formats that are checked before they are believed."""
