"""The experiments of this book: a folder for each chapter of the thesis."""
