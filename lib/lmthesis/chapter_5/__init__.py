"""Chapter 5: interdependence of words, in English and in made-up languages."""
