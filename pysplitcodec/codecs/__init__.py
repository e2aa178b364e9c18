"""The codec in the clothes that other libraries expect.  Nothing here is imported by itself."""
