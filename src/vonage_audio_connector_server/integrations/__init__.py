"""The library as a part of frameworks that people have. Each module needs the extra that has its name."""
